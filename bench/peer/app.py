# The way it is usually done: one web framework, one Kafka client. The answer waits until the log has
# the record (acks=all), as pinflow's does.
import json
import os

from fastapi import FastAPI
from kafka import KafkaProducer

app = FastAPI()


def make():
    return KafkaProducer(
        bootstrap_servers=os.environ["BROKER"],
        acks="all",
        value_serializer=lambda v: json.dumps(v).encode("ascii"),
    )


shared = make() if os.environ["SHARED"] == "1" else None


@app.get("/healthz")
def healthz():
    return {}


@app.post("/pin/", status_code=202)
def pin(item: dict):
    producer = shared or make()
    producer.send("peer", value=item).get(timeout=30)
    if producer is not shared:
        producer.close()
    return {"accepted": 1}
