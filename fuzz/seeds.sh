# Folders below fuzz/ with inputs that a fuzz target begins with, for tests/fuzz and .clusterfuzzlite/build.sh.
# shellcheck shell=bash disable=SC2034 # used by those who source it
declare -A seeds=(
    [packet]="seeds/packet"
    [capture]="../tests/captures"
    [programs]="../tests/captures"
    [feed]="seeds/feed"
    [policy]="../config ../tests/refused ../tests/warned"
)
