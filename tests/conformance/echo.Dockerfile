# The server and the client that the conformance suite runs in its pods, where the suite looks for them.
FROM scratch
COPY client server /usr/local/bin/
COPY cert.crt cert.key /
ENV PATH=/usr/local/bin
USER 1338:1338
ENTRYPOINT ["/usr/local/bin/server"]
