# The app on CPUs: docker build -t dynamicvit . && docker run -p 7860:7860 -v dynamicvit:/data dynamicvit
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 app && install -d -o app /data /app
WORKDIR /app

# torch's own index has wheels without CUDA libraries; versions are those of requirements.txt.
COPY requirements.txt .
RUN sed -n 's/^torch\(vision\)\?==.*/&+cpu/p' requirements.txt > cpu.txt \
    && pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r cpu.txt -r requirements.txt

COPY app.py ./
COPY dynamicvit dynamicvit
COPY assets assets
COPY checkpoints checkpoints

USER 1000
ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 DYNAMICVIT_CACHE=/data PYTHONUNBUFFERED=1
EXPOSE 7860
CMD ["python", "app.py"]
