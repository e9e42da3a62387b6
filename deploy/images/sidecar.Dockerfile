# One static program; built from the folder that holds it.
FROM scratch
LABEL org.opencontainers.image.title="Outrigger sidecar" org.opencontainers.image.licenses="Apache-2.0"
COPY outrigger-sidecar /outrigger-sidecar
USER 4140:4140
ENTRYPOINT ["/outrigger-sidecar"]
