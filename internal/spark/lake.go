package spark

import (
	"net/url"
	"strings"
)

// Catalog and namespace by which statements name the tables.
const (
	Catalog   = "pinflow"
	Namespace = "_states"
)

// Lake is where the files of the tables are. The lake's own catalog is none of Spark's business: tables that
// it is to read are registered, and those that it writes are told by the location of their metadata.
type Lake struct {
	Warehouse string // absolute folder, or s3://bucket/prefix

	Endpoint, Region     string // of S3
	PathStyle            bool
	AccessKey, SecretKey string
}

// catalog is the configuration of a catalog in Spark's memory. It has one connection: Iceberg leaves a read
// open on it, under which another connection would see an old state for ever.
func (l *Lake) catalog() [][2]string {
	at := "spark.sql.catalog." + Catalog
	out := [][2]string{
		{at, "org.apache.iceberg.spark.SparkCatalog"},
		{at + ".type", "jdbc"},
		{at + ".uri", "jdbc:sqlite::memory:"},
		{at + ".clients", "1"},
		{at + ".jdbc.schema-version", "V1"},
		{at + ".cache-enabled", "false"},
	}
	if !strings.HasPrefix(l.Warehouse, "s3://") {
		return append(out, [2]string{at + ".warehouse", (&url.URL{Scheme: "file", Path: l.Warehouse}).String()})
	}
	out = append(out, [2]string{at + ".warehouse", strings.TrimRight(l.Warehouse, "/")}, [2]string{at + ".io-impl", "org.apache.iceberg.aws.s3.S3FileIO"})
	// As the lake's own client: only AWS wants the bucket in the host's name.
	if l.PathStyle || l.Endpoint != "" && !strings.Contains(l.Endpoint, ".amazonaws.com") {
		out = append(out, [2]string{at + ".s3.path-style-access", "true"})
	}
	for _, x := range [][2]string{
		{".s3.endpoint", l.Endpoint}, {".client.region", l.Region},
		{".s3.access-key-id", l.AccessKey}, {".s3.secret-access-key", l.SecretKey},
	} {
		if x[1] != "" {
			out = append(out, [2]string{at + x[0], x[1]})
		}
	}
	return out
}
