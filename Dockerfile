# The exporter alone, statically linked: no shell, no libc, no package manager.
#
#   docker build --build-arg VERSION=0.1.0 --tag mglru_exporter:0.1.0 .
#
# docs/DEPLOYMENT.md tells how to run it.
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS=linux
ARG TARGETARCH=amd64
ARG VERSION=unknown
ARG REVISION=unknown
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
	CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags "-s -w \
	-X github.com/prometheus/common/version.Version=$VERSION \
	-X github.com/prometheus/common/version.Revision=$REVISION" \
	-o /out/mglru_exporter ./cmd/mglru_exporter

FROM scratch
LABEL org.opencontainers.image.title="mglru_exporter" \
	org.opencontainers.image.description="Exporter of which memory is hot and which is cold"
COPY --from=build /out/mglru_exporter /mglru_exporter
COPY config.example.yaml /etc/mglru_exporter/config.yaml
# Root without most of its capabilities; docs/DEPLOYMENT.md says why.
USER 0:0
EXPOSE 9934
ENTRYPOINT ["/mglru_exporter"]
