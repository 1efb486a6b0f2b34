"""The way it is usually done: a consumer that puts each message as an object of its own, on the disk or into S3.
consumer.py CONFIG, a file of JSON. It prints JSON."""
import json
import os
import sys
import time

from kafka import KafkaConsumer

with open(sys.argv[1]) as text:
    c = json.load(text)
if "s3" in c:
    import boto3
    s = c["s3"]
    client = boto3.client("s3", endpoint_url=s["endpoint"], region_name=s["region"], aws_access_key_id=s["key"], aws_secret_access_key=s["secret"])
    client.create_bucket(Bucket=c["bucket"], CreateBucketConfiguration={"LocationConstraint": s["region"]})

    def put(name, text):
        client.put_object(Bucket=c["bucket"], Key=name, Body=text)
else:
    os.makedirs(c["dir"] + "/objects")

    def put(name, text):
        with open(c["dir"] + "/objects/" + name, "w") as out:
            out.write(text)

consumer = KafkaConsumer(c["topic"], bootstrap_servers=c["brokers"], group_id=c["group"], auto_offset_reset="earliest",
                         value_deserializer=lambda v: json.loads(v))
began = None
n = 0
for message in consumer:
    began = began or time.time()
    put(f"{message.partition}-{message.offset}.json", json.dumps(message.value))
    n += 1
    if n == c["sample"]:
        break
print(json.dumps({"rows": n, "seconds": time.time() - began}))
