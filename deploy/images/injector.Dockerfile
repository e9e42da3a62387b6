# One static program; built from the folder that holds it.
FROM scratch
LABEL org.opencontainers.image.title="Outrigger injector" org.opencontainers.image.licenses="Apache-2.0"
COPY outrigger-injector /outrigger-injector
USER 65532:65532
ENTRYPOINT ["/outrigger-injector"]
