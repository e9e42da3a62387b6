# All of Jaeger in one process, with its traces in memory.
FROM scratch
COPY jaeger /jaeger
USER 65534:65534
# It would trace itself, and tell of itself among the services.
ENV SPAN_STORAGE_TYPE=memory OTEL_TRACES_SAMPLER=always_off
ENTRYPOINT ["/jaeger", "--log-level=warn"]
