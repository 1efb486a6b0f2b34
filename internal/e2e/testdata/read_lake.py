"""Reads one table of a pinflow lake with an independent reader and prints what is in it, by day, as JSON.

usage: read_lake.py [--with pyiceberg|duckdb|spark] LAKE_FOLDER TABLE [FIELD...]

LAKE_FOLDER holds catalog.db and warehouse/; with PINFLOW_LAKE_CATALOG and the other settings of a lake on
servers in the environment, it is not looked at. FIELDs are numeric columns to sum up. A day is that of the
table's partition column, in UTC. Output:

    {"table": ..., "rows": N, "days": [{"day": "2026-11-24", "rows": N, "ids": N, "sums": {FIELD: N}}]}

"ids" counts the distinct event ids. pyiceberg also tells "partition", "columns" and "properties". Spark needs
a Python with pyspark, and the jars in PINFLOW_ICEBERG; DuckDB is told by pyiceberg where the table's newest
metadata is, since it knows no SQL catalogs.
"""

import argparse
import datetime
import json
import os
import sys
import urllib.parse


def main() -> None:
    args = argparse.ArgumentParser()
    args.add_argument("--with", dest="reader", default="pyiceberg", choices=readers)
    args.add_argument("folder")
    args.add_argument("table")
    args.add_argument("fields", nargs="*")
    a = args.parse_args()
    out = readers[a.reader](os.path.abspath(a.folder), a.table, a.fields)
    out["table"] = a.table
    out["rows"] = sum(day["rows"] for day in out["days"])
    json.dump(out, sys.stdout)


def dsn() -> str:
    return os.environ.get("PINFLOW_LAKE_CATALOG", "")


def by_pyiceberg(folder: str, name: str, fields: list[str]) -> dict:
    table = load(folder, name)
    spec = table.spec().fields[0]
    by = table.schema().find_column_name(spec.source_id)
    days: dict[str, dict] = {}
    scan = table.scan(selected_fields=tuple({by, "_event_id", *fields}))
    for batch in scan.to_arrow_batch_reader():
        add(days, batch.to_pydict(), by, fields)
    for day in days.values():
        day["ids"] = len(day["ids"])
    return {
        "partition": f"{spec.transform}({by})",
        "columns": {f.name: str(f.field_type) for f in table.schema().fields},
        "properties": {k: v for k, v in table.properties.items() if k.startswith("pinflow.commit")},
        "days": [days[d] for d in sorted(days)],
    }


def load(folder: str, name: str):
    from pyiceberg.catalog.sql import SqlCatalog

    where = {"uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}/warehouse"}
    if dsn():
        where = {
            "uri": sqlalchemy_url(dsn()),
            "warehouse": os.environ["PINFLOW_LAKE_WAREHOUSE"],
            "s3.endpoint": os.environ["PINFLOW_LAKE_S3_ENDPOINT"],
            "s3.region": os.environ["PINFLOW_LAKE_S3_REGION"],
            "s3.access-key-id": os.environ["AWS_ACCESS_KEY_ID"],
            "s3.secret-access-key": os.environ["AWS_SECRET_ACCESS_KEY"],
        }
    return SqlCatalog("pinflow", init_catalog_tables="false", **where).load_table(f"lake.{name}")


def by_duckdb(folder: str, name: str, fields: list[str]) -> dict:
    import duckdb

    con = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for extension in ["avro", "iceberg", *(["httpfs"] if dsn() else [])]:
        con.load_extension(extension_file(extension))
    con.execute("SET TimeZone = 'UTC'")
    if dsn():
        url = urllib.parse.urlsplit(os.environ["PINFLOW_LAKE_S3_ENDPOINT"])
        con.execute(
            "CREATE SECRET (TYPE s3, KEY_ID $key, SECRET $secret, REGION $region, ENDPOINT $endpoint, URL_STYLE 'path', USE_SSL "
            + ("true)" if url.scheme == "https" else "false)"),
            {
                "key": os.environ["AWS_ACCESS_KEY_ID"],
                "secret": os.environ["AWS_SECRET_ACCESS_KEY"],
                "region": os.environ["PINFLOW_LAKE_S3_REGION"],
                "endpoint": url.netloc,
            },
        )
    table = load(folder, name)
    by = table.schema().find_column_name(table.spec().fields[0].source_id)
    sql = query(f"iceberg_scan('{table.metadata_location}')", by, fields, "CAST(date_trunc('day', {0}) AS DATE)")
    return {"days": [as_day(row, fields) for row in con.execute(sql).fetchall()]}


def extension_file(name: str) -> str:
    """The extension's file in its package, whose folders are named by DuckDB's version and platform."""
    import glob
    import importlib

    package = importlib.import_module(f"duckdb_extension_{name}")
    return glob.glob(os.path.join(os.path.dirname(package.__file__), "**", "*.duckdb_extension"), recursive=True)[0]


def by_spark(folder: str, name: str, fields: list[str]) -> dict:
    spark = spark_session(folder)
    described = {r["col_name"]: r["data_type"] for r in spark.sql(f"DESCRIBE pinflow.lake.{name}").collect()}
    by = described["Part 0"].removeprefix("days(").removesuffix(")")
    sql = query(f"pinflow.lake.{name}", by, fields, "CAST({0} AS DATE)")
    return {"days": [as_day(row, fields) for row in spark.sql(sql).collect()]}


def spark_session(folder: str):
    import glob

    from pyspark.sql import SparkSession

    builder = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "1g")
        .config("spark.jars", ",".join(glob.glob(os.environ["PINFLOW_ICEBERG"] + "/*.jar")))
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
        .config("spark.sql.catalog.pinflow", "org.apache.iceberg.spark.SparkCatalog")
        .config("spark.sql.catalog.pinflow.type", "jdbc")
    )
    catalog = {
        "uri": f"jdbc:sqlite:{folder}/catalog.db?journal_mode=WAL&busy_timeout=30000",
        "warehouse": f"file://{folder}/warehouse",
    }
    if dsn():
        catalog = {
            "uri": jdbc_url(dsn()),
            "warehouse": os.environ["PINFLOW_LAKE_WAREHOUSE"],
            "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
            "s3.endpoint": os.environ["PINFLOW_LAKE_S3_ENDPOINT"],
            "s3.path-style-access": "true",
            "client.region": os.environ["PINFLOW_LAKE_S3_REGION"],
        }
    for key, value in catalog.items():
        builder = builder.config(f"spark.sql.catalog.pinflow.{key}", value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def query(table: str, by: str, fields: list[str], day: str) -> str:
    sums = "".join(f", sum({f})" for f in fields)
    return f"SELECT {day.format(by)} AS day, count(*), count(DISTINCT _event_id){sums} FROM {table} GROUP BY 1 ORDER BY 1"


def as_day(row, fields: list[str]) -> dict:
    return {"day": row[0].isoformat(), "rows": row[1], "ids": row[2], "sums": {f: float(row[3 + i] or 0) for i, f in enumerate(fields)}}


def sqlalchemy_url(dsn: str) -> str:
    """Turns pinflow's URL, whose schema is the parameter search_path, into psycopg2's."""
    url = urllib.parse.urlsplit(dsn)
    query = dict(urllib.parse.parse_qsl(url.query))
    if schema := query.pop("search_path", None):
        query["options"] = f"-csearch_path={schema}"
    return urllib.parse.urlunsplit(("postgresql+psycopg2", url.netloc, url.path, urllib.parse.urlencode(query), ""))


def jdbc_url(dsn: str) -> str:
    """Turns pinflow's URL into that of PostgreSQL's JDBC driver."""
    url = urllib.parse.urlsplit(dsn)
    query = dict(urllib.parse.parse_qsl(url.query))
    if schema := query.pop("search_path", None):
        query["currentSchema"] = schema
    query["user"] = url.username or ""
    if url.password:
        query["password"] = url.password
    host = url.hostname or "localhost"
    return f"jdbc:postgresql://{host}:{url.port or 5432}{url.path}?{urllib.parse.urlencode(query)}"


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


readers = {"pyiceberg": by_pyiceberg, "duckdb": by_duckdb, "spark": by_spark}

if __name__ == "__main__":
    main()
