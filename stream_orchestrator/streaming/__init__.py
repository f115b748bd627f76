"""The only package that imports faust or aiokafka: apps, inboxes, offset tracker, tables, producer, brokers."""
