"""Runs the queries of a job in Spark: spark.py JOB ANSWERS.

JOB has a JSON object a line: {"table": Parquet file, "queries": [SQL over t, ...]}. ANSWERS gets a line for
each query: {"rows": [[value, ...], ...]} or {"error": text}. Doubles are their bits, decimals and longs text.
"""
import decimal
import json
import struct
import sys

from pyspark.sql import SparkSession


def plain(v):
    if isinstance(v, float):
        return {"f": struct.pack(">d", v).hex()}
    if isinstance(v, bool) or v is None or isinstance(v, str):
        return v
    if isinstance(v, (int, decimal.Decimal)):
        return {"i": str(int(v))}
    if isinstance(v, (list, tuple)):
        return [plain(x) for x in v]
    raise TypeError(type(v))


# The session's zone is neither the table's nor a view's: no answer may depend on it.
spark = (SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
         .config("spark.sql.shuffle.partitions", "2").config("spark.sql.session.timeZone", "America/Los_Angeles")
         .config("spark.sql.ansi.enabled", sys.argv[3]).getOrCreate())
spark.sparkContext.setLogLevel("ERROR")
with open(sys.argv[1]) as jobs, open(sys.argv[2], "w") as out:
    for line in jobs:
        job = json.loads(line)
        spark.read.parquet(job["table"]).createOrReplaceTempView("t")
        for query in job["queries"]:
            try:
                rows = [[plain(v) for v in row] for row in spark.sql(query).collect()]
                out.write(json.dumps({"rows": rows}) + "\n")
            except Exception as e:  # told to the test, which fails
                out.write(json.dumps({"error": str(e)[:2000]}) + "\n")
spark.stop()
