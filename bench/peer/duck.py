"""DuckDB over the files of a table: duck.py CONFIG, a file of JSON. It prints JSON."""
import json
import os
import resource
import sys
import time

began = time.time()

import duckdb  # noqa: E402

MEASURES = {
    "five": """count(*) FILTER (WHERE is_image_or_video = 'video') AS video, max(follower_count) AS reach_max,
        avg(follower_count) AS reach_avg, sum(follower_count) AS reach""",
    "sketches": "approx_count_distinct(poster_name) AS posters, approx_quantile(follower_count, [0.5, 0.9]) AS p, NULL",
}

with open(sys.argv[1]) as text:
    c = json.load(text)
db = duckdb.connect(config={"threads": 2, "allow_unsigned_extensions": "true"})
if "s3" in c:
    import duckdb_extension_httpfs
    folder = os.path.dirname(duckdb_extension_httpfs.__file__)
    found = [os.path.join(at, n) for at, _, names in os.walk(folder) for n in names if n.startswith("httpfs.duckdb_extension")]
    db.execute(f"LOAD '{found[0]}'")
    s = c["s3"]
    db.execute(f"""CREATE SECRET (TYPE s3, KEY_ID '{s["key"]}', SECRET '{s["secret"]}', REGION '{s["region"]}',
        ENDPOINT '{s["endpoint"].split("://")[1]}', URL_STYLE 'path', USE_SSL false)""")
started = time.time() - began


def cpu():
    u = resource.getrusage(resource.RUSAGE_SELF)
    return u.ru_utime + u.ru_stime


sql = f"""SELECT epoch_us(_event_time) // 86400000000 AS day, category, country, count(*) AS posted, {MEASURES[c["view"]]}
    FROM read_parquet('{c["files"]}') GROUP BY ALL"""
runs = []
for _ in range(1 + c["warm"]):
    at, used = time.time(), cpu()
    rows = db.execute(sql).fetchall()
    runs.append({"seconds": time.time() - at, "cpu": cpu() - used})
print(json.dumps({"started": started, "runs": runs, "rows": sum(r[3] for r in rows), "groups": len(rows), "reach": str(sum(r[-1] or 0 for r in rows)) if c["view"] == "five" else ""}))
