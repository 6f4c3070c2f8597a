# syntax=docker/dockerfile:1

# Node 24 is the current long-term-support line. glibc is needed: onnxruntime-node ships no musl build.
# A tag moves, so its digest is pinned: Node 24.18.0, the index of all platforms. docs/security.md says where the digest
# is from and how to renew it: docker buildx imagetools inspect node:24-bookworm-slim
ARG NODE_IMAGE=node:24-bookworm-slim@sha256:6f7b03f7c2c8e2e784dcf9295400527b9b1270fd37b7e9a7285cf83b6951452d

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY scripts/build.mjs ./scripts/
COPY src ./src
COPY packages ./packages
COPY routes ./routes
RUN npm run build

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The runtime's binaries for other systems are half of its size.
RUN npm ci --omit=dev --ignore-scripts \
 && cd node_modules/onnxruntime-node/bin/napi-v3 \
 && rm -rf darwin win32 \
 && case "$(dpkg --print-architecture)" in amd64) rm -rf linux/arm64 ;; arm64) rm -rf linux/x64 ;; esac

FROM ${NODE_IMAGE}
ENV NODE_ENV=production \
    MODEL_CACHE_DIR=/data/models
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json LICENSE docker-entrypoint.sh ./
COPY model ./model
COPY routes ./routes
# `--build-arg BAKE=1` puts the verified cache into the image, outside of the place where a volume is mounted; run
# it with MODEL_CACHE_DIR=/opt/models and REQUIRE_MOUNT=false. Without it the image stays small.
ARG BAKE=
RUN mkdir -p /data/models \
 && if [ -n "$BAKE" ]; then node dist/main.js pull --routes --quiet --cache-dir /opt/models && chown -R node:node /opt/models; fi \
 && chown -R node:node /data/models
# Railway mounts its volume here itself, and refuses a Dockerfile with a VOLUME instruction.
EXPOSE 3000
STOPSIGNAL SIGTERM
# Gives the volume to the user `node`, drops root's rights and becomes the daemon.
ENTRYPOINT ["/app/docker-entrypoint.sh"]
# node itself is process 1: no shell and no npm stand between SIGTERM and the daemon.
CMD ["node", "dist/main.js", "serve"]
