"""produce | consume BROKER TOPIC COUNT: writes or reads that many records with kafka-python."""
import sys

from kafka import KafkaConsumer, KafkaProducer

what, broker, topic, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
if what == "produce":
    producer = KafkaProducer(bootstrap_servers=broker, acks="all", compression_type="gzip")
    sent = [
        producer.send(topic, b'{"category":"python","index":"%d"}' % i, headers=[("pf-id", b"p-%d" % i)])
        for i in range(count)
    ]
    for s in sent:
        s.get(timeout=30)
    producer.close()
else:
    consumer = KafkaConsumer(
        topic, bootstrap_servers=broker, group_id="a-stranger", auto_offset_reset="earliest", consumer_timeout_ms=20_000
    )
    n = 0
    for record in consumer:
        n += 1
        if n == count:
            break
    consumer.commit()
    consumer.close()
    print(n)
