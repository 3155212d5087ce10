#!/usr/bin/env bash
# Repeat the paper's ResNet-50 rows (W4A4: PTQ, then QAT on top) and print them beside the paper's.
#
#   IMAGENET=/data/imagenet/val recipes/reproduce.sh OUT      # a GPU, ImageNet's validation images, the hub
#   recipes/reproduce.sh --rehearse OUT                       # the same steps on what is in the package, on a CPU
#
# OUT (default: build/reproduce) takes everything. A run that was stopped goes on from where it was: call it again.
# What is fetched: timm/resnet50.gluon_in1k (102 MB) and stable-diffusion-v1-5/stable-diffusion-v1-5 (2.7 GB of its half
# precision). By calculation (recipes/README.md) PTQ takes 0.2 to 0.8 GPU hours to draw and 15.7 PFLOP to learn, QAT 1.2 to
# 6.2 hours and 20.7 PFLOP: on one current data-centre GPU a day is plenty.
set -euo pipefail

rehearse=false
if [ "${1:-}" = "--rehearse" ]; then rehearse=true; shift; fi
out=${1:-build/reproduce}
recipes=$(cd "$(dirname "$0")" && pwd)
rows="resnet50-w4a4-ptq resnet50-w4a4-qat"

stop() { echo "reproduce: $1" >&2; exit 2; }

check_images() {  # 1,000 folders of 50 images each, or what is missing
  [ -n "${IMAGENET:-}" ] || stop "set IMAGENET to the folder of ImageNet's validation images, one folder a class (or --rehearse)"
  [ -d "$IMAGENET" ] || stop "IMAGENET=$IMAGENET is no folder"
  classes=$(find -L "$IMAGENET" -mindepth 1 -maxdepth 1 -type d | wc -l)
  images=$(find -L "$IMAGENET" -mindepth 2 -maxdepth 2 -type f | wc -l)
  [ "$classes" -eq 1000 ] || stop "$IMAGENET has $classes folders, not the 1,000 classes: sort the images into folders by synset first"
  [ "$images" -eq 50000 ] || stop "$IMAGENET has $images images, not 50,000"
}

check_machine() {
  command -v genq-export >/dev/null || stop "genq-export is not on the path: pip install . (or activate its environment)"
  mkdir -p "$out" || stop "cannot write to $out"
  free=$(df -Pk "$out" | awk 'NR == 2 {print int($4 / 1048576)}')
  needed=$($rehearse && echo 1 || echo 150)
  [ "$free" -ge "$needed" ] || stop "$out has $free GiB free, and block inputs of 10,240 images take up to $needed"
  if ! $rehearse; then
    command -v nvidia-smi >/dev/null || stop "no NVIDIA GPU here: days of a CPU would not be enough (--rehearse shows the steps)"
  fi
}

fetch() {  # resumed and checked by hash by the hub's own client
  hf download timm/resnet50.gluon_in1k --include "*.safetensors" --include "*.json" >/dev/null
  hf download stable-diffusion-v1-5/stable-diffusion-v1-5 --include "*.json" --include "*.txt" --include "*.fp16.safetensors" >/dev/null
}

recipe() {  # the recipe with this machine's images; in a rehearsal with the package's own network, pipeline and images
  if $rehearse; then
    sed -E -e 's/^(  name:).*/\1 fashion_resnet/' -e 's/^(  generator:).*/\1 fashion_sd/' -e 's/^(device:).*/\1 cpu/' \
      -e 's/^(  images:).*/\1 64/' -e 's/^(    iterations:).*/\1 20/' -e 's/^(    epochs:).*/\1 1/' \
      -e 's/^(  evaluation:).*/\1 null/' "$recipes/$1.yaml"
  else
    sed -E "s#^(  evaluation:).*#\1 \"$IMAGENET\"#" "$recipes/$1.yaml"
  fi
}

check_machine
$rehearse || { check_images; fetch; }
for row in $rows; do
  recipe "$row" > "$out/$row.yaml"
  echo "reproduce: $row ($(sed -n 's/^# quantize: //p' "$recipes/$row.yaml") by calculation)"
  genq-export build --config "$out/$row.yaml" -o "$out/$row" || [ $? -eq 1 ] || exit 2  # 1: a gate failed, all is written
done
python3 "$recipes/reproduced.py" "$out" $rows
