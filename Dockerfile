# An image with one trainer and nothing else:
#   docker build --build-arg MODEL=catdog --build-arg ISA=avx2 -t catdog .
#   docker run --rm -v "$PWD/data/catdog-drawn:/data:ro" catdog --data /data --epochs 10
FROM debian:bookworm-slim AS builder
ARG MODEL=catdog
ARG ISA=avx2
RUN apt-get update && apt-get install --yes --no-install-recommends make
WORKDIR /src
COPY . .
RUN make trainer MODEL=models/${MODEL}.py ISA=${ISA}

FROM scratch
ARG MODEL=catdog
ARG ISA=avx2
COPY --from=builder /src/generated/${MODEL}/${ISA}/trainer /trainer
ENTRYPOINT ["/trainer"]
