# Training and scoring on GPUs. For a build that is the same tomorrow name the base by its digest:
# --build-arg BASE_IMAGE=nvcr.io/nvidia/tensorflow@sha256:... (docs/security.md). The base image's TensorFlow and Horovod are kept; on a base without them
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
 && (getent passwd 1000 >/dev/null || useradd --uid 1000 --user-group deepfake) \
 && mkdir -p /results /etc/ssh/ssh_config.d /home/deepfake \
 && chown 1000 /results /home/deepfake && chmod 0755 /results && chmod 0700 /home/deepfake \
 && cp tools/ssh_between_workers.conf /etc/ssh/ssh_config.d/
USER 1000
# A home that nobody else may write to: the cache of the shipped model and the pins of trusted models lie in it.
# With another --user, name one of that user's (launch.sh does); without, the model is built anew at every start.
ENV HOME=/home/deepfake
# Importing TensorFlow takes seconds, and more beside a training job: seldom, and with time.
HEALTHCHECK --interval=300s --timeout=120s --start-period=60s \
  CMD python -c "import tensorflow, tensorflow_addons, horovod.tensorflow, mtcnn, runtime" || exit 1
ENTRYPOINT ["/opt/deepfake/launch.sh"]
CMD ["--help"]
