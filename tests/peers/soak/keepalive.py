"""Requests on one connection: `keepalive.py HOST:PORT SECONDS`. Ends with 0 when each was answered, and on that connection."""

import http.client
import sys
import time

address, seconds = sys.argv[1:]
ends = time.monotonic() + float(seconds)
connection = http.client.HTTPConnection(address, timeout=20)
connection.connect()
sock = connection.sock
requests = 0
while time.monotonic() < ends:
    body = f"request {requests}"
    connection.request("POST", "/", body)
    response = connection.getresponse()
    got = response.read().decode()
    if response.status != 200 or got != body:
        sys.exit(f"{body}: {response.status} {got}")
    if connection.sock is not sock:
        sys.exit(f"{body}: the connection was not kept")
    requests += 1
    time.sleep(0.7)
print(f"{requests} requests on one connection")
