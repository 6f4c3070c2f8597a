# syntax=docker/dockerfile:1

# Node 24 is the current long-term-support line. glibc is needed: onnxruntime-node ships no musl build.
# A tag moves, so its digest is pinned: Node 24.18.0, the index of all platforms. docs/security.md says where the digest
# is from and how to renew it: docker buildx imagetools inspect node:24-bookworm-slim
ARG NODE_IMAGE=node:24-bookworm-slim@sha256:6f7b03f7c2c8e2e784dcf9295400527b9b1270fd37b7e9a7285cf83b6951452d

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json ./
COPY scripts/build.mjs ./scripts/
COPY src ./src
COPY packages ./packages
RUN npm run build

# What the bundle imports: the native runtime, without its binaries for other systems.
FROM ${NODE_IMAGE} AS modules
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --ignore-scripts \
 && cd node_modules/onnxruntime-node/bin/napi-v3 \
 && find . -mindepth 2 -maxdepth 2 ! -path "./linux/$(node -p process.arch)" -exec rm -r {} +

# `--build-arg BAKE=1` puts the verified cache into the image. The bundled copy of the model becomes links to its blobs.
FROM ${NODE_IMAGE} AS model
WORKDIR /build
COPY --from=modules /app/node_modules ./app/node_modules
COPY --from=build /app/dist ./app/dist
COPY package.json ./app/
COPY routes ./app/routes
COPY model ./image/app/model
ARG BAKE=
ARG MODEL_VARIANT=q8
RUN mkdir -p image/data/models image/usr/local/bin \
 && ln -s ../../../app/dist/main.js image/usr/local/bin/ai-router \
 && ln -s ../image/app/model app/model \
 && if [ -n "$BAKE" ]; then \
      node app/dist/main.js pull --routes --quiet --cache-dir image/opt/models \
      && find image/app/model -type f | while read -r file; do \
        blob="image/opt/models/blobs/sha256/$(sha256sum "$file" | cut -d ' ' -f 1)"; \
        if [ -f "$blob" ]; then ln -f "$blob" "$file"; fi; \
      done \
      && chown -R 1000:0 image/opt/models && chmod -R g=u image/opt/models; \
    fi \
 && chown -R 1000:0 image/data/models && chmod -R g=u image/data/models

FROM ${NODE_IMAGE}
ARG BAKE=
ARG MODEL_VARIANT=q8
# malloc keeps what a training has freed, per thread; so the daemon takes 27 MB less after its first boot.
ENV MALLOC_ARENA_MAX=1 \
    MALLOC_TRIM_THRESHOLD_=131072
# The cache folder of a plain image is a platform's volume ($RAILWAY_VOLUME_MOUNT_PATH), else /data/models.
ENV NODE_ENV=production \
    MODEL_VARIANT=${MODEL_VARIANT} \
    MODEL_CACHE_DIR=${BAKE:+/opt/models} \
    REQUIRE_MOUNT=${BAKE:+false}
WORKDIR /app
COPY --from=modules /app/node_modules ./node_modules
# Owned by user `node` and group 0, which may write: platforms such as OpenShift start containers as any user of that group.
COPY --from=model /build/image/ /
COPY --from=build /app/dist ./dist
COPY package.json LICENSE railway.toml ./
COPY deploy/entrypoint.sh deploy/healthcheck.js ./deploy/
COPY routes ./routes
# Railway mounts its volume at /data/models itself, and refuses a Dockerfile with a VOLUME instruction.
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["node", "deploy/healthcheck.js"]
# Hands the volume to the user `node`, drops root's rights and runs `ai-router` with the arguments.
ENTRYPOINT ["/app/deploy/entrypoint.sh"]
CMD ["serve"]
