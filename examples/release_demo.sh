#!/bin/sh
# A release that a person must approve, from the build to the published files: examples/release.py by the command line.
#
#     examples/release_demo.sh [PROJECT]
#
# Builds the project in the folder PROJECT (this one when left out), and plays the rest in a temporary folder with an
# SQLite database of its own. Each command is shown as one types it, with what comes out. PYTHON is the interpreter; it
# has jobctl, build and the project's build backend.
set -eu
exec 2>&1 # what is said to a person, in its place between the data

examples=$(cd "$(dirname "$0")" && pwd)
project=$(cd "${1:-$examples/..}" && pwd)
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$folder"
unset JOBCTL_DATABASE JOBCTL_CONFIG

python() { "$python" "$@"; }
jobctl() { "$python" -m jobctl "$@"; }

run() {
    printf '$ %s\n' "$1"
    eval "$1"
}

say() { printf '\n# %s\n' "$1"; }

say "Build the artefacts, and say which database and which processors there are."
run "python -m build --no-isolation --outdir dist '$project' >build.log 2>&1 || { cat build.log; exit 1; }"
cp "$examples/release.py" .
printf 'database = "sqlite:///jobs.db"\nprocessors = ["./release.py"]\n' >jobctl.toml
run 'cat jobctl.toml'

say "Ask for the release: a worker checks the artefacts, and then a person has two hours to say yes."
run 'id=$(jobctl start release.check --set folder="$PWD/dist" --set target="$PWD/releases")'
run 'jobctl worker --drain --name worker-1'
run 'jobctl show $id'

say "Approve it. Who comes second is told so, with exit code 4, and changes nothing."
run 'jobctl complete $id --expect release.await-approval --continue release.publish --note "ship it"'
if run "jobctl complete \$id --expect release.await-approval --output '{\"rejected\": true}'"; then
    exit 1 # nobody may win twice
else
    code=$?
    echo "(exit code $code)"
    test $code -eq 4
fi

say "A worker publishes it."
run 'jobctl worker --drain --name worker-2'
run 'jobctl wait $id --timeout 1m'

say "The published files are those that were approved, and the release is recorded."
run 'ls -l releases/*'
run 'cmp dist/*.whl releases/*/*.whl && cmp dist/*.tar.gz releases/*/*.tar.gz'
run "python -c 'import sqlite3; print(*sqlite3.connect(\"jobs.db\").execute(\"SELECT * FROM published_release\"))'"
