# Holds a pod's namespaces.
FROM scratch
COPY busybox /busybox
USER 65535:65535
ENTRYPOINT ["/busybox", "sleep", "2147483647"]
