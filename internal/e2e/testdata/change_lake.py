"""Changes the rows of a pinflow table as another engine would, with pyiceberg or Spark.

usage: change_lake.py LAKE_FOLDER TABLE delete FILTER
       change_lake.py LAKE_FOLDER TABLE update FILTER
       change_lake.py LAKE_FOLDER TABLE append ROWS
       change_lake.py LAKE_FOLDER TABLE rollback SNAPSHOT
       change_lake.py LAKE_FOLDER TABLE spark STATEMENT[;STATEMENT...]
       change_lake.py LAKE_FOLDER TABLE spark-update FILTER

update gives the rows another category, append puts ROWS of the table's own rows in once more. spark runs SQL, in which
{} is the table; spark-update gives rows another category by writing the table's days anew. Prints the snapshot that the table is
on then. Where the lake is, and what Spark needs: as for read_lake.py.
"""

import os
import sys

from read_lake import load, spark_session


def main() -> None:
    folder, name, what, arg = sys.argv[1:]
    if what.startswith("spark"):
        by_spark(os.path.abspath(folder), name, what, arg)
    else:
        by_pyiceberg(folder, name, what, arg)


def by_spark(folder: str, name: str, what: str, arg: str) -> None:
    from pyspark.sql import functions as f

    spark = spark_session(folder)
    table = f"pinflow.lake.{name}"
    if what == "spark-update":
        # As Parquet: Iceberg's scans refuse a column of the name _partition.
        rows = spark.read.parquet(*[row[0] for row in spark.sql(f"SELECT file_path FROM {table}.files").collect()])
        category = f.when(f.expr(arg), "other").otherwise(f.col("category"))
        rows.withColumn("category", category).writeTo(table).overwritePartitions()
    else:
        for statement in arg.split(";"):
            for row in spark.sql(statement.replace("{}", table)).collect():
                print(row, file=sys.stderr)
    newest = spark.sql(f"SELECT snapshot_id FROM {table}.refs WHERE name = 'main'")
    print(newest.collect()[0][0])


def by_pyiceberg(folder: str, name: str, what: str, arg: str) -> None:
    from pyiceberg.exceptions import CommitFailedException

    for _ in range(100):
        table = load(folder, name)
        try:
            if what == "delete":
                table.delete(arg)
            elif what == "update":
                table.overwrite(other_category(table.scan(row_filter=arg).to_arrow()), overwrite_filter=arg)
            elif what == "append":
                table.append(table.scan(limit=int(arg)).to_arrow())
            else:
                table.manage_snapshots().rollback_to_snapshot(int(arg)).commit()
        except CommitFailedException:
            continue  # pinflow came first
        print(load(folder, name).current_snapshot().snapshot_id)
        return
    sys.exit("others came first each time")


def other_category(rows):
    import pyarrow

    at = rows.schema.get_field_index("category")
    return rows.set_column(at, rows.schema.field(at), pyarrow.array(["other"] * rows.num_rows, rows.schema.field(at).type))


if __name__ == "__main__":
    main()
