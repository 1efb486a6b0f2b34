package spark

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pinflow/pinflow/internal/fault"
)

// Config says how Spark is run, and how it reaches the lake.
type Config struct {
	Submit   string   // command or path of spark-submit
	Master   string   // as Spark's: local[*], spark://…, yarn, k8s://…
	Packages []string // Maven coordinates that Spark fetches
	Jars     []string // files or URLs
	Conf     []string // KEY=VALUE of Spark's configuration

	S3 S3 // of a lake there; zero: Spark finds the way by its own configuration
}

// S3 is how the lake's bucket is reached. Without keys Spark looks for its own.
type S3 struct {
	Endpoint, Region     string
	PathStyle            bool
	AccessKey, SecretKey string
	CAFile               string // PEM certificates to trust besides the system's; "": none
}

// arguments of spark-submit, before the driver. What is given in Conf goes before what is ours. No secret is among
// them: everybody on the host sees them. trust is the file of certificates that Java is to trust; "": its own.
func (c *Config) arguments(trust string) []string {
	args := []string{"--name", "pinflow back-fill", "--master", c.Master, "--deploy-mode", "client"}
	if len(c.Packages) > 0 {
		args = append(args, "--packages", strings.Join(c.Packages, ","))
	}
	if len(c.Jars) > 0 {
		args = append(args, "--jars", strings.Join(c.Jars, ","))
	}
	conf := []string{
		"spark.ui.enabled=false", // its page would be open to whoever reaches the host
		"spark.ui.showConsoleProgress=false",
		"spark.sql.catalogImplementation=in-memory",
		// Else each file that is written in S3 costs requests that delete folders that are not there.
		"spark.hadoop.fs.s3a.directory.marker.retention=keep",
	}
	if strings.HasPrefix(c.Master, "local") {
		conf = append(conf, "spark.driver.bindAddress=127.0.0.1", "spark.driver.host=127.0.0.1")
	}
	if c.S3.Endpoint != "" {
		conf = append(conf, "spark.hadoop.fs.s3a.endpoint="+c.S3.Endpoint)
	}
	if c.S3.Region != "" {
		conf = append(conf, "spark.hadoop.fs.s3a.endpoint.region="+c.S3.Region)
	}
	if c.S3.PathStyle {
		conf = append(conf, "spark.hadoop.fs.s3a.path.style.access=true")
	}
	conf = append(conf, c.Conf...)
	if trust != "" {
		conf = trusting(conf, trust, strings.HasPrefix(c.Master, "local"))
	}
	for _, kv := range conf {
		args = append(args, "--conf", kv)
	}
	return args
}

// environment is that of the driver: ours without our own settings, with the keys of the lake's bucket, which Spark
// hands to its executors.
func (c *Config) environment(ours []string) []string {
	env := slices.DeleteFunc(slices.Clone(ours), func(v string) bool {
		if strings.HasPrefix(v, "PINFLOW_") {
			return true
		}
		// A session's token or a profile beside our keys would spoil them.
		return c.S3.AccessKey != "" && (strings.HasPrefix(v, "AWS_SESSION_TOKEN=") || strings.HasPrefix(v, "AWS_PROFILE=") ||
			strings.HasPrefix(v, "AWS_ACCESS_KEY_ID=") || strings.HasPrefix(v, "AWS_SECRET_ACCESS_KEY="))
	})
	// In a Python environment spark-submit finds Spark by the Python that lies beside it.
	if dir := filepath.Dir(c.Submit); dir != "." {
		for i, v := range env {
			if path, ok := strings.CutPrefix(v, "PATH="); ok {
				env[i] = "PATH=" + dir + string(os.PathListSeparator) + path
			}
		}
	}
	if c.S3.AccessKey != "" {
		env = append(env, "AWS_ACCESS_KEY_ID="+c.S3.AccessKey, "AWS_SECRET_ACCESS_KEY="+c.S3.SecretKey)
	}
	return env
}

var versionRE = regexp.MustCompile(`version (\d+\.\d+\.\d+)`)

// Version runs the command and returns the version of Spark. fault.Config no_spark: there is none.
func (c *Config) Version(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, c.Submit, "--version")
	cmd.Env = c.environment(os.Environ())
	out, err := cmd.CombinedOutput()
	if err != nil {
		lines := &lastLines{most: 20}
		_, _ = lines.Write(out) // never fails
		return "", missing(c.Submit, fmt.Errorf("%w: %s", err, lines.reason()))
	}
	m := versionRE.FindSubmatch(out)
	if m == nil {
		return "", fault.New(fault.Config, "no_spark", "%s --version names no version of Spark: %.200q", c.Submit, out).
			WithAdvice("set backfill.spark.submit to Apache Spark's bin/spark-submit")
	}
	return string(m[1]), nil
}
