#!/bin/sh
# Every way to ask a daemon, with curl. The address: AI_ROUTER_URL, default http://localhost:3000
set -eu
url=${AI_ROUTER_URL:-http://localhost:3000}

ask() {
  printf '\n%s\n' "# $1"
  shift
  curl --silent --show-error --fail-with-body --retry 5 --retry-connrefused --header 'content-type: application/json' "$@"
  echo
}

curl --silent --output /dev/null --retry 3 --retry-connrefused "$url/livez" || {
  echo "no ai-router at $url (AI_ROUTER_URL): start one with npm start" >&2
  exit 1
}

ask 'Can it answer? (waits for a daemon that is starting)' "$url/readyz"

ask 'Where should this text go?' "$url/classify" \
  --data '{"text": "my card was charged twice"}'

ask 'Only these routes, the best one alone, and why' "$url/classify" \
  --data '{"text": "will it rain in Oslo?", "routes": ["weather", "calendar"], "top_k": 1, "explain": true}'

ask 'Labels of the request instead of the routes (zero-shot)' "$url/classify" \
  --data '{"text": "the screen stays black", "labels": ["hardware", "billing", {"name": "praise", "utterances": ["I love it"]}]}'

ask 'Several texts at once' "$url/classify/batch" \
  --data '{"texts": ["translate this into French", "what is 12 times 7?"], "top_k": 1}'

ask 'Embeddings, as OpenAI has them' "$url/v1/embeddings" \
  --data '{"model": "all-MiniLM-L6-v2", "input": ["a text"], "encoding_format": "base64"}'

ask 'Embeddings, as Text Embeddings Inference has them' "$url/embed" \
  --data '{"inputs": "a text"}'

ask 'What is served' "$url/v1/models"
ask 'The volume and its files' "$url/cache/status"
