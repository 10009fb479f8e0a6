#!/bin/sh
sed -i 's/two: "2"/two: "edited"/; s/two: two/two: edited/' "$1"
