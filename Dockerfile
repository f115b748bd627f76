# The worker. Pipelines are mounted, not built in: docker run -v ./pipelines:/pipelines:ro IMAGE worker /pipelines/production
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock .
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
COPY deploy/requirements.lock deploy/
RUN python -m venv /opt/app \
 && /opt/app/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r deploy/requirements.lock
COPY . .
RUN /opt/build/bin/python -m build --wheel --no-isolation --outdir dist \
 && /opt/app/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps dist/*.whl

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /home/app app
COPY --from=build /opt/app /opt/app
ENV PATH=/opt/app/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER app
WORKDIR /home/app
EXPOSE 8080
# Alive is not ready: a worker that waits for its broker must not be killed for it. Platforms ask /health/ready themselves.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health/live', timeout=2)"]
# An exec form, so that SIGTERM reaches the worker and it drains.
ENTRYPOINT ["stream-orchestrator"]
CMD ["--help"]
