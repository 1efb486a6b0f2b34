"""The driver of pinflow's back-fills: driver.py SOCKET, run by spark-submit.

It connects to SOCKET and speaks JSON lines. After {"application", "spark"} of its own it takes jobs, one at a time:
{"about", "files", "schema", "counts": [SQL], "statements": [SQL], "to": [folder]}, and answers each with some
{"done", "all"} tasks of Spark, and in the end {"rows": [n], "wrote": [[file]]} or {"error"}. It ends with its
connection, also in the middle of a job. It needs Python 3.6 and nothing of the executors but Spark.
"""
import itertools
import json
import os
import queue
import socket
import sys
import threading

from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

# What a statement means may depend on no installation's defaults.
SESSION = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.caseSensitive": "true",
    "spark.sql.parser.escapedStringLiterals": "false",
    "spark.sql.parquet.fieldId.read.enabled": "true",
    "spark.sql.parquet.fieldId.read.ignoreMissing": "false",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.files.ignoreCorruptFiles": "false",
}

peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
peer.connect(sys.argv[1])
sending = threading.Lock()


def say(message):
    with sending:
        peer.sendall(json.dumps(message).encode() + b"\n")


def take(jobs):
    """Hands on what is asked. Whoever asked is gone when the connection ends: then nothing here is of use."""
    for line in peer.makefile("r", encoding="utf-8"):
        jobs.put(json.loads(line))
    os._exit(0)


def watch(sc, group, working):
    """Tells how many tasks are done of those that Spark knows of by now, when that changes."""
    told, tracker = None, sc.statusTracker()
    while not working.wait(1):
        jobs = [tracker.getJobInfo(j) for j in tracker.getJobIdsForGroup(group)]
        stages = [tracker.getStageInfo(s) for j in jobs if j is not None for s in j.stageIds]
        stages = [s for s in stages if s is not None]
        now = {"done": sum(s.numCompletedTasks for s in stages), "all": sum(s.numTasks for s in stages)}
        if stages and now != told:
            told = now
            say(now)


def reason(failure):
    """Spark's own words: the first and the last of the causes, without stacks."""
    java = getattr(failure, "java_exception", None) or getattr(failure, "_origin", None)
    causes = []
    while java is not None and len(causes) < 20:
        causes.append(java.toString())
        java = java.getCause()
    causes = causes or [type(failure).__name__ + ": " + str(failure)]
    lines = []
    for cause in ([causes[0], causes[-1]] if len(causes) > 1 else causes):
        for line in cause.splitlines():
            line = line.strip()
            if line and not line.startswith(("at ", "... ", "Driver stacktrace")) and line not in lines:
                lines.append(line)
    return "\n".join(lines[:12])[:2000]


def run(spark, job):
    # The files are what they are called: folders named like column=value say nothing, and no name is a pattern.
    rows = (spark.read.schema(StructType.fromJson(job["schema"])).option("recursiveFileLookup", "true")
            .option("__globPaths__", "false").parquet(*job["files"]))
    rows.createOrReplaceTempView("pinflow_rows")
    counts = [spark.sql(query).collect()[0][0] for query in job["counts"]]
    wrote = []
    for statement, to in zip(job["statements"], job["to"]):
        spark.sql(statement).write.mode("overwrite").parquet(to)
        wrote.append(spark.read.option("__globPaths__", "false").parquet(to).inputFiles())
    return {"rows": counts, "wrote": wrote}


def main():
    spark = SparkSession.builder.getOrCreate()
    sc = spark.sparkContext
    sc.setLogLevel("WARN")
    for key, value in SESSION.items():
        spark.conf.set(key, value)
    say({"application": sc.applicationId, "spark": spark.version})
    jobs = queue.Queue()
    threading.Thread(target=take, args=(jobs,), daemon=True).start()
    for number in itertools.count():
        job, working, group = jobs.get(), threading.Event(), "pinflow-%d" % number
        sc.setJobGroup(group, job["about"])
        watcher = threading.Thread(target=watch, args=(sc, group, working), daemon=True)
        watcher.start()
        try:
            answer = run(spark, job)
        except Exception as failure:  # told to whoever asked
            answer = {"error": reason(failure)}
        working.set()
        watcher.join()
        say(answer)


main()
