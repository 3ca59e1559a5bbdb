# Training and scoring on GPUs. The base image's TensorFlow and Horovod are kept; on a base without them
# (python:3.11-bookworm) the tested set is installed and Horovod is built.
ARG BASE_IMAGE=nvcr.io/nvidia/tensorflow:24.03-tf2-py3
FROM ${BASE_IMAGE}

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 DEEPFAKE_IN_IMAGE=1
WORKDIR /opt/deepfake
COPY setup.py constraints.txt README.md LICENSE NOTICE pyproject.toml ./
COPY scripts/install_image.sh scripts/
COPY unet_industrial/__init__.py unet_industrial/
RUN bash scripts/install_image.sh

COPY . .
RUN python -m pip install --no-deps --no-build-isolation -e . \
 && (id -u 1000 >/dev/null 2>&1 || useradd --uid 1000 deepfake) \
 && mkdir -p /results && chmod 1777 /results
USER 1000
ENV HOME=/tmp
HEALTHCHECK --interval=60s --timeout=50s --start-period=60s \
  CMD python -c "import tensorflow, tensorflow_addons, horovod.tensorflow, mtcnn, runtime" || exit 1
ENTRYPOINT ["/opt/deepfake/launch.sh"]
CMD ["--help"]
