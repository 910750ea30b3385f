# The service as an image: docs/docker.md says how to build, run and extend it.
#   docker build -t holdfast .
# What is copied in is named in .dockerignore. No step depends on the architecture: Holdfast's own
# dependencies are JavaScript, npm's optional packages (a Node for development, native speed-ups) stay out.
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /holdfast
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json tsconfig.workers.json ./
COPY src src
COPY workers workers
RUN npm run build && npm run build:workers && find dist -name '*.d.ts' -delete

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /holdfast
COPY package.json package-lock.json ./
# Node runs no TypeScript below node_modules, so types, sources and their maps are only weight.
RUN --mount=type=cache,target=/root/.npm \
    npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund \
 && find node_modules -type f \( -name '*.map' -o -name '*.ts' -o -name '*.mts' -o -name '*.cts' \) -delete

FROM ${NODE_IMAGE}
# The init: passes signals on to the service, and reaps what handlers leave behind.
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*

# /holdfast is the service and belongs to root. /app is the user's: handlers, config, npm packages.
# What /app does not have itself (zod, bullmq, undici …) its handlers find in Holdfast's packages.
# Named volumes take over the owner that they find here: so the first start can write.
RUN install -d -o 1000 -g 1000 /app \
 && install -d -o 1000 -g 1000 -m 0700 /data /data/journal /data/outages /data/secrets \
 && install -d -o 1000 -g 1000 /data/output \
 && ln -s /holdfast/node_modules /node_modules \
 && ln -s /holdfast/src/bin.mjs /usr/local/bin/holdfast
COPY --from=dependencies /holdfast/node_modules /holdfast/node_modules
COPY package.json LICENSE /holdfast/
COPY src/bin.mjs /holdfast/src/bin.mjs
COPY deploy/container/*.mjs /holdfast/
COPY --from=build /holdfast/dist /holdfast/dist
COPY docs /app/docs
COPY config /app/config
COPY workers /app/workers

# Half of Node's threads may look up names. While nobody answers for Redis' name, its lookups take up to
# 10 s each, and with Node's own 4 threads they would hold up those of handlers.
ENV NODE_ENV=production \
    DATA_DIR=/data \
    OUTPUT_DIR=/data/output \
    UV_THREADPOOL_SIZE=16
WORKDIR /app
USER 1000:1000
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["node", "/holdfast/healthcheck.mjs"]
ENTRYPOINT ["tini", "--"]
CMD ["holdfast", "start"]

ARG VERSION=unknown
ARG REVISION=unknown
ARG NODE_IMAGE
LABEL org.opencontainers.image.title="holdfast" \
      org.opencontainers.image.description="A background-worker service for BullMQ queues that keeps its promises while Redis does not." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${NODE_IMAGE}"
