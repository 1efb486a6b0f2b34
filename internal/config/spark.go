package config

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/metric"
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

// inSpark warns of a view whose history Spark cannot fill in. It may be there already, or the kernel's to fill in.
func (l *loader) inSpark(v *View, schema *event.Schema, d *walker) {
	c, _ := metric.Compile(v.View, schema)
	if c == nil || c.NoHistory {
		return
	}
	if reasons := c.KernelOnly(); len(reasons) > 0 {
		d.note(SeverityWarning, "name", d.find("name"), "engine spark cannot fill in its history: only the kernel has "+strings.Join(reasons, "; "), "pinflow apply --engine kernel")
	}
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
