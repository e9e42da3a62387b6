# A shell, nslookup, wget, nc and the rest, each a link to one static program.
FROM scratch
COPY rootfs/ /
ENV PATH=/bin
CMD ["sh"]
