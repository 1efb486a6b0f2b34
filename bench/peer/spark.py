"""Apache Spark, as it is usually set up for this: spark.py CONFIG, a file of JSON. It prints JSON, a line for each thing told."""
import glob
import json
import sys
import time

began = time.time()

from pyspark.sql import SparkSession  # noqa: E402
from pyspark.sql import functions as f  # noqa: E402

PIN = """event_id string, event_time timestamp, index long, unique_id string, category string, title string, description string,
poster_name string, follower_count string, tag_list string, is_image_or_video string, image_src string, downloaded long,
save_location string, country string, is_test boolean"""

MEASURES = {
    "five": """count(CASE WHEN is_image_or_video = 'video' THEN 1 END) AS video, max(follower_count) AS reach_max,
        avg(follower_count) AS reach_avg, sum(follower_count) AS reach""",
    "sketches": "approx_count_distinct(poster_name) AS posters, percentile_approx(follower_count, array(0.5, 0.9)) AS p",
}


def tell(**what):
    print(json.dumps(what), flush=True)


def session(c):
    b = (SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false").config("spark.driver.memory", "2g")
         .config("spark.driver.host", "127.0.0.1").config("spark.sql.shuffle.partitions", "2").config("spark.sql.session.timeZone", "UTC")
         .config("spark.sql.streaming.metricsEnabled", "false").config("spark.jars", ",".join(glob.glob(c["jars"] + "/*.jar")))
         .config("spark.local.dir", c["dir"]).config("spark.sql.warehouse.dir", c["dir"] + "/spark-warehouse"))
    if "catalog" in c:
        at = "spark.sql.catalog.pinflow"
        b = (b.config(at, "org.apache.iceberg.spark.SparkCatalog").config(at + ".type", "jdbc").config(at + ".uri", "jdbc:sqlite:" + c["catalog"])
             .config(at + ".warehouse", c["warehouse"]))
    if "s3" in c:
        s = c["s3"]
        b = (b.config(at + ".io-impl", "org.apache.iceberg.aws.s3.S3FileIO").config(at + ".s3.endpoint", s["endpoint"])
             .config(at + ".s3.path-style-access", "true").config(at + ".client.region", s["region"])
             .config(at + ".s3.access-key-id", s["key"]).config(at + ".s3.secret-access-key", s["secret"]))
    spark = b.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def pins(spark, c, start, fields=PIN):
    raw = (spark.readStream.format("kafka").option("kafka.bootstrap.servers", c["brokers"]).option("subscribe", c["topic"])
           .option("startingOffsets", start).load())
    return raw.select(f.from_json(f.col("value").cast("string"), fields).alias("e")).select("e.*")


def by_minute(events):
    return (events.withWatermark("event_time", "10 minutes").groupBy(f.window("event_time", "1 minute"), "category").count())


def drained(query):
    query.awaitTermination()
    p = [x for x in query.recentProgress if x["numInputRows"] > 0]
    return {"rows": sum(x["numInputRows"] for x in p), "seconds": sum(x["durationMs"]["triggerExecution"] for x in p) / 1000}


def to_lake(spark, c):
    """The backlog, to files of Parquet or to a table of Iceberg."""
    w = pins(spark, c, "earliest").writeStream.trigger(availableNow=True).option("checkpointLocation", c["dir"] + "/checkpoint")
    started = time.time() - began
    if c["to"] == "iceberg":
        spark.sql("CREATE NAMESPACE IF NOT EXISTS pinflow.lake")
        for table in ["spark", "connect"]:  # the second is for Kafka Connect
            spark.sql(f"CREATE TABLE pinflow.lake.{table} ({PIN}) USING iceberg")
        q = w.format("iceberg").toTable("pinflow.lake.spark")
    else:
        q = w.format("parquet").start(c["dir"] + "/parquet")
    tell(started=started, **drained(q))


def backlog(spark, c):
    """A count by minute and category of the backlog."""
    total = {}

    def see(df, _):
        for r in df.collect():
            total[(r[0]["start"], r[1])] = r[2]

    q = (by_minute(pins(spark, c, "earliest", "event_time timestamp, category string")).writeStream.outputMode("update").trigger(availableNow=True)
         .option("checkpointLocation", c["dir"] + "/checkpoint").foreachBatch(see).start())
    started = time.time() - began
    done = drained(q)
    tell(started=started, counted=sum(total.values()), **done)


def latency(spark, c):
    """The same count as it comes; tells when how many probes are counted, until a line comes in."""
    probes = {}

    def see(df, _):
        rows = df.collect()
        now = time.time_ns()
        for r in rows:
            if r[1] == "probe":
                probes[r[0]["start"]] = r[2]
        if probes:
            tell(seen=sum(probes.values()), at=now)

    q = (by_minute(pins(spark, c, "latest", "event_time timestamp, category string")).writeStream.outputMode("update")
         .option("checkpointLocation", c["dir"] + "/checkpoint").foreachBatch(see).start())
    while q.status["message"] != "Waiting for data to arrive":
        time.sleep(0.1)
        if q.exception():
            raise q.exception()
    tell(started=time.time() - began)
    sys.stdin.readline()
    q.stop()


def history(spark, c):
    """A view's measures over a table or files, first cold, then warm."""
    jvm = spark._jvm.java.lang.ProcessHandle.current().pid()

    def cpu():
        with open(f"/proc/{jvm}/stat") as stat:
            p = stat.read().rsplit(") ", 1)[1].split()
        return (int(p[11]) + int(p[12])) / 100

    table = "pinflow.lake.pin"
    if c["to"] == "files":
        spark.read.parquet(c["files"]).createOrReplaceTempView("pin")
        table = "pin"
    started = time.time() - began
    sql = f"""SELECT date_trunc('DAY', _event_time) AS day, category, country, count(*) AS posted, {MEASURES[c["view"]]}
        FROM {table} GROUP BY 1, 2, 3"""
    runs = []
    for _ in range(1 + c["warm"]):
        at, used = time.time(), cpu()
        rows = spark.sql(sql).collect()
        runs.append({"seconds": time.time() - at, "cpu": cpu() - used})
    tell(started=started, runs=runs, rows=sum(r["posted"] for r in rows), groups=len(rows),
         reach=str(sum(r["reach"] or 0 for r in rows)) if c["view"] == "five" else "")


with open(sys.argv[1]) as text:
    config = json.load(text)
spark = session(config)
{"to_lake": to_lake, "backlog": backlog, "latency": latency, "history": history}[config["job"]](spark, config)
spark.stop()
