# One static program; built from the folder that holds it.
FROM scratch
LABEL org.opencontainers.image.title="Outrigger control plane" org.opencontainers.image.licenses="Apache-2.0"
COPY outrigger-control-plane /outrigger-control-plane
USER 65532:65532
ENTRYPOINT ["/outrigger-control-plane"]
