# Training and scoring on GPUs. The base image's TensorFlow and Horovod are kept; on a base without them
# (python:3.11-bookworm, debian:bookworm) the tested set is installed and Horovod is built.
ARG BASE_IMAGE=nvcr.io/nvidia/tensorflow:24.03-tf2-py3
FROM ${BASE_IMAGE}

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 DEEPFAKE_IN_IMAGE=1 \
    TF_ENABLE_ONEDNN_OPTS=1 PATH=/opt/venv/bin:${PATH}
WORKDIR /opt/deepfake
# What the installation depends on comes first, so that a change of the code does not repeat it.
COPY setup.py constraints.txt README.md LICENSE NOTICE pyproject.toml ./
COPY tools/install_image.sh tools/
COPY unet_industrial/__init__.py unet_industrial/
RUN bash tools/install_image.sh

COPY . .
RUN python -m pip install --no-deps --no-build-isolation -e . \
 && (getent passwd 1000 >/dev/null || useradd --uid 1000 --create-home deepfake) \
 && mkdir -p /results /etc/ssh/ssh_config.d && chmod 1777 /results \
 && cp tools/ssh_between_workers.conf /etc/ssh/ssh_config.d/
USER 1000
ENV HOME=/tmp
# Importing TensorFlow takes seconds, and more beside a training job: seldom, and with time.
HEALTHCHECK --interval=300s --timeout=120s --start-period=60s \
  CMD python -c "import tensorflow, tensorflow_addons, horovod.tensorflow, mtcnn, runtime" || exit 1
ENTRYPOINT ["/opt/deepfake/launch.sh"]
CMD ["--help"]
