# Debian's etcd with the C library that it is linked to.
FROM scratch
COPY rootfs/ /
USER 65534:65534
ENTRYPOINT ["/etcd"]
