"""Settings as users of Dockyard write them, by the four kinds of storage and upstream that it is used with."""

from __future__ import annotations

MINIO = """\
logger:
  level: "info"          # debug, info, warn, error
  encoding: "console"
  color: true
  output: "stderr"

server:
  host: ""               # all interfaces
  port: "5000"
  log:
    enabled: true
    level: "info"
    request_body: false
    response_body: false
    ignore_paths: ["/version", "/healthz"]

storage:
  endpoint: "minio:9000"
  region: "us-east-1"
  bucket: "dockyard"
  access_key: "minioadmin"
  secret_key: "minioadmin"
  use_ssl: false
  force_path_style: true

upstream:
  check_timeout: "5s"

upstreams:
  - prefix: "docker.io"
    registry: "registry-1.docker.io"
    auth:
      type: "anonymous"
"""

S3 = """\
server:
  port: 5000
  tls: "false"
  certfile: ""
  keyfile: ""
storage:
  region: eu-central-1
  bucket: company-image-cache
  prefix: dockyard
  access_key: ""         # the instance's role
  secret_key: ""
  use_ssl: "true"
  touch_threshold: 24h
upstreams:
  - prefix: docker.io
    registry: registry-1.docker.io
    auth:
      type: basic
      username: ${REGISTRY_USER}
      password: ${REGISTRY_PASSWORD}
"""

ECR = """\
storage:
  region: us-west-2
  bucket: ecr-cache
upstream:
  check_timeout: 0
upstreams:
  - prefix: ecr
    registry: 123456789012.dkr.ecr.us-west-2.amazonaws.com
    auth:
      type: ecr
"""

GHCR = """\
logger: {encoding: json, level: debug}
storage:
  endpoint: s3.amazonaws.com
  bucket: ghcr-cache
  touch_threshold: 168h
upstreams:
  - prefix: ghcr.io
    registry: ghcr.io
    auth:
      type: basic
      username: ${REGISTRY_USER}
      password: ${REGISTRY_PASSWORD}
  - prefix: ""
    registry: ghcr.io
"""
