"""Reads one table of a pinflow lake with pyiceberg and prints what is in it, by day, as JSON.

usage: read_lake.py LAKE_FOLDER TABLE [FIELD...]

LAKE_FOLDER holds catalog.db and warehouse/; with PINFLOW_LAKE_CATALOG and the other settings of a lake on
servers in the environment, it is not looked at. FIELDs are numeric columns to sum up. A day is that of the
table's partition column, in UTC. Output:

    {"table": ..., "rows": N, "partition": "day(_event_time)", "columns": {...}, "properties": {...},
     "days": [{"day": "2026-11-24", "rows": N, "ids": N, "sums": {FIELD: N}}]}

"ids" counts the distinct event ids.
"""

import datetime
import json
import os
import sys
import urllib.parse

from pyiceberg.catalog.sql import SqlCatalog


def main() -> None:
    folder, name, fields = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3:]
    where = {"uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}/warehouse"}
    if dsn := os.environ.get("PINFLOW_LAKE_CATALOG"):
        where = {
            "uri": sqlalchemy_url(dsn),
            "warehouse": os.environ["PINFLOW_LAKE_WAREHOUSE"],
            "s3.endpoint": os.environ["PINFLOW_LAKE_S3_ENDPOINT"],
            "s3.region": os.environ["PINFLOW_LAKE_S3_REGION"],
            "s3.access-key-id": os.environ["AWS_ACCESS_KEY_ID"],
            "s3.secret-access-key": os.environ["AWS_SECRET_ACCESS_KEY"],
        }
    catalog = SqlCatalog("pinflow", init_catalog_tables="false", **where)
    table = catalog.load_table(f"lake.{name}")
    spec = table.spec().fields[0]
    by = table.schema().find_column_name(spec.source_id)
    days: dict[str, dict] = {}
    scan = table.scan(selected_fields=tuple({by, "_event_id", *fields}))
    for batch in scan.to_arrow_batch_reader():
        add(days, batch.to_pydict(), by, fields)
    for day in days.values():
        day["ids"] = len(day["ids"])
    out = {
        "table": name,
        "rows": sum(day["rows"] for day in days.values()),
        "partition": f"{spec.transform}({by})",
        "columns": {f.name: str(f.field_type) for f in table.schema().fields},
        "properties": {k: v for k, v in table.properties.items() if k.startswith("pinflow.commit")},
        "days": [days[d] for d in sorted(days)],
    }
    json.dump(out, sys.stdout)


def sqlalchemy_url(dsn: str) -> str:
    """Turns pinflow's URL, whose schema is the parameter search_path, into psycopg2's."""
    url = urllib.parse.urlsplit(dsn)
    query = dict(urllib.parse.parse_qsl(url.query))
    if schema := query.pop("search_path", None):
        query["options"] = f"-csearch_path={schema}"
    return urllib.parse.urlunsplit(("postgresql+psycopg2", url.netloc, url.path, urllib.parse.urlencode(query), ""))


def add(days: dict, columns: dict, by: str, fields: list[str]) -> None:
    for i, at in enumerate(columns[by]):
        date = at.astimezone(datetime.timezone.utc).date().isoformat()
        day = days.setdefault(date, {"day": date, "rows": 0, "ids": set(), "sums": {f: 0 for f in fields}})
        day["rows"] += 1
        day["ids"].add(columns["_event_id"][i])
        for f in fields:
            value = columns[f][i]
            if value is not None:
                day["sums"][f] += value


main()
