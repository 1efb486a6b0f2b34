// What pinflow has Spark do: it runs the statements that come in on standard input, each in a thread and
// a job group of its own, and tells on standard output what becomes of them. Words of a line are separated
// by a space, texts are base64. When the input ends, pinflow is gone, and so goes this.
//
//   in   conf KEY VALUE | register ID TABLE METADATA | run ID SQL | cancel ID
//   out  @pinflow ready VERSION | ok ID ROWS | failed ID MESSAGE | at ID DONE OF
import org.apache.spark.sql.SparkSession

object Pinflow {
  private val out = new java.io.PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), true, "UTF-8")
  private val running = new java.util.concurrent.ConcurrentHashMap[String, Thread]()
  private val cancelled = java.util.concurrent.ConcurrentHashMap.newKeySet[String]()

  private def read(s: String): String = new String(java.util.Base64.getDecoder.decode(s), "UTF-8").substring(1)
  // A text begins with a dot, so that none is no word at all.
  private def text(s: String): String = java.util.Base64.getEncoder.encodeToString(("." + s).getBytes("UTF-8"))
  private def say(words: String*): Unit = out.synchronized { out.print(words.mkString("\n@pinflow ", " ", "\n")); out.flush() }

  // What went wrong: the message, and that of the innermost cause if it says more.
  private def tell(e: Throwable): String = {
    var inner = e
    while (inner.getCause != null && inner.getCause != inner) inner = inner.getCause
    val first = String.valueOf(e.getMessage)
    if (inner == e || first.contains(String.valueOf(inner.getMessage))) e.getClass.getSimpleName + ": " + first
    else inner.getClass.getSimpleName + ": " + inner.getMessage + "; " + first
  }

  // By reflection, so that what is wrong with Iceberg's classes is an answer, not a script that is not understood.
  private def register(spark: SparkSession, table: String, metadata: String): Seq[String] = {
    spark.sql("CREATE NAMESPACE IF NOT EXISTS pinflow.`_states`")
    val catalog = spark.sessionState.catalogManager.catalog("pinflow")
    val iceberg = catalog.getClass.getMethod("icebergCatalog").invoke(catalog)
    val id = Class.forName("org.apache.iceberg.catalog.TableIdentifier", true, catalog.getClass.getClassLoader)
      .getMethod("of", classOf[Array[String]]).invoke(null, Array("_states", table))
    iceberg.getClass.getMethods.find(m => m.getName == "registerTable" && m.getParameterCount == 2).get.invoke(iceberg, id, metadata)
    Nil
  }

  private def run(spark: SparkSession, id: String)(what: => Seq[String]): Unit = {
    val work = new Thread(() => {
      try {
        spark.sparkContext.setJobGroup(id, "pinflow " + id, true)
        say("ok", id, text(what.mkString("\n")))
      } catch {
        case e: Throwable => say("failed", id, text(tell(e)))
      } finally { running.remove(id); cancelled.remove(id) }
    }, "pinflow-" + id)
    running.put(id, work)
    work.start()
  }

  // Once a second tells how far each is, and cancels again what was cancelled: a statement has many jobs.
  private def watch(spark: SparkSession): Unit = {
    val t = new Thread(() => while (true) {
      Thread.sleep(1000)
      running.keySet.forEach { id =>
        if (cancelled.contains(id)) spark.sparkContext.cancelJobGroup(id)
        val tracker = spark.sparkContext.statusTracker
        val stages = tracker.getJobIdsForGroup(id).flatMap(j => tracker.getJobInfo(j)).flatMap(_.stageIds).distinct.flatMap(s => tracker.getStageInfo(s))
        say("at", id, stages.map(_.numCompletedTasks).sum.toString, stages.map(_.numTasks).sum.toString)
      }
    }, "pinflow-watch")
    t.setDaemon(true)
    t.start()
  }

  def main(spark: SparkSession): Unit = {
    spark.sparkContext.setLogLevel("ERROR")
    watch(spark)
    say("ready", spark.version)
    val in = new java.io.BufferedReader(new java.io.InputStreamReader(new java.io.FileInputStream(java.io.FileDescriptor.in), "UTF-8"))
    var line = in.readLine()
    while (line != null) {
      line.split(" ") match {
        case Array("conf", key, value) => spark.conf.set(read(key), read(value))
        case Array("run", id, sql) => run(spark, id) { spark.sql(read(sql)).toJSON.collect().toSeq }
        case Array("register", id, table, metadata) => run(spark, id) { register(spark, read(table), read(metadata)) }
        case Array("cancel", id) => cancelled.add(id); spark.sparkContext.cancelJobGroup(id)
        case _ => say("failed", "0", text("bad line"))
      }
      line = in.readLine()
    }
    val end = new Thread(() => { spark.stop(); Runtime.getRuntime.halt(0) })
    end.start()
    end.join(10000) // a cluster hears that it is over
    Runtime.getRuntime.halt(0)
  }
}
Pinflow.main(spark)
