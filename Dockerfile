# Two images from one file: `operator` (no numbers, no images) and `worker` (what runs inside the Jobs).
#   docker build --target operator -t alrun-operator .      docker build --target worker -t alrun-worker .
# Any base with Python 3.11 or newer and its venv module will do.
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS tools
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check "uv>=0.9,<1" "hatchling>=1.27,<2"
ENV PATH=/opt/uv/bin:${PATH} UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 UV_HTTP_TIMEOUT=300 UV_SYSTEM_CERTS=1
WORKDIR /build

# Lists of locked packages with their hashes. The stages below depend on a list, not on pyproject.toml, so that a
# change of a lint rule does not install everything anew.
FROM tools AS requirements
COPY pyproject.toml uv.lock ./
RUN uv export --quiet --frozen --no-default-groups --no-emit-project --no-header --extra operator --output-file operator.txt \
 && uv export --quiet --frozen --no-default-groups --no-emit-project --no-header --extra worker --output-file worker.txt

FROM tools AS operator-dependencies
COPY --from=requirements /build/operator.txt requirements.txt
RUN python3 -m venv --without-pip /opt/alrun && uv pip sync --quiet --python /opt/alrun/bin/python3 --require-hashes requirements.txt

FROM tools AS worker-dependencies
COPY --from=requirements /build/worker.txt requirements.txt
RUN python3 -m venv --without-pip /opt/alrun && uv pip sync --quiet --python /opt/alrun/bin/python3 --require-hashes requirements.txt

# The code comes last, as a layer of its own: a change of it moves a few megabytes.
FROM tools AS code
COPY pyproject.toml README.md LICENSE ./
COPY operator/alrun operator/alrun
COPY specs specs
RUN uv pip install --quiet --python /opt/uv/bin/python3 --no-build-isolation --no-deps --target /opt/alrun-code . && rm -r /opt/alrun-code/bin

# LOGNAME: kopf asks who it runs as, and no base image knows the user by number.
FROM ${BASE_IMAGE} AS operator
COPY --from=operator-dependencies /opt/alrun /opt/alrun
COPY --from=code /opt/alrun-code/alrun/*.py /opt/alrun-code/alrun/
COPY --from=code /opt/alrun-code/alrun/api /opt/alrun-code/alrun/api
COPY --from=code /opt/alrun-code/alrun/core /opt/alrun-code/alrun/core
COPY --from=code /opt/alrun-code/alrun/engines /opt/alrun-code/alrun/engines
COPY --from=code /opt/alrun-code/alrun/cluster /opt/alrun-code/alrun/cluster
COPY --from=code /opt/alrun-code/alrun/controller /opt/alrun-code/alrun/controller
ENV PATH=/opt/alrun/bin:${PATH} PYTHONPATH=/opt/alrun-code PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    LOGNAME=alrun
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["python3", "-m", "alrun.controller"]

FROM ${BASE_IMAGE} AS worker
COPY --from=worker-dependencies /opt/alrun /opt/alrun
RUN printf '#!/opt/alrun/bin/python3\nimport sys\n\nfrom alrun.cli.main import main\n\nsys.exit(main())\n' > /usr/local/bin/alrun && chmod 0755 /usr/local/bin/alrun
COPY --from=code /opt/alrun-code /opt/alrun-code
ENV PATH=/opt/alrun/bin:${PATH} PYTHONPATH=/opt/alrun-code PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 65532:65532
ENTRYPOINT ["alrun"]
