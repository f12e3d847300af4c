# The image caplaunch, to copy from: COPY --from=caplaunch /caplaunch /
#
#   docker build -t caplaunch .

FROM golang:1.26 AS build
WORKDIR /src
COPY . .
RUN make build

FROM scratch
COPY --from=build /src/bin/caplaunch /
USER 65532:65532
ENTRYPOINT ["/caplaunch"]
