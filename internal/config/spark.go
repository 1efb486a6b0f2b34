package config

import (
	"fmt"
	"regexp"
	"strings"
)

// sparkSecret is a key of Spark's configuration that holds a secret, as Spark itself tells them.
var sparkSecret = regexp.MustCompile(`(?i)secret|password|token|access[.]?key`)

// ownConf are keys of Spark's configuration that a back-fill depends on.
var ownConf = map[string]string{
	"spark.master":               "backfill.spark.master",
	"spark.submit.deployMode":    "the driver runs beside the worker",
	"spark.jars":                 "backfill.spark.jars",
	"spark.jars.packages":        "backfill.spark.packages",
	"spark.sql.session.timeZone": "statements are of UTC",
}

// spark checks what is said of Apache Spark.
func (l *loader) spark(p *Project) {
	for _, kv := range p.Settings.Backfill.Spark.Conf {
		key, _, _ := strings.Cut(kv, "=")
		if sparkSecret.MatchString(key) {
			l.setting(p, "backfill.spark.conf", fmt.Sprintf("%s is a secret, and everybody on the host sees the command line of spark-submit", key),
				"lake.s3.access_key and secret_key_file for the lake's bucket, or Spark's own conf/spark-defaults.conf")
		} else if of, ours := ownConf[key]; ours {
			l.setting(p, "backfill.spark.conf", fmt.Sprintf("%s is not to be set here: %s", key, of), "")
		}
	}
}
