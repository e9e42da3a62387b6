FROM scratch
COPY test-app /test-app
USER 65534:65534
ENTRYPOINT ["/test-app"]
