# shellcheck shell=bash
# Sourced: Debian's arm64 packages, without making them known to the system's own dpkg. (Adding the
# architecture would upgrade packages of the host.)
#
# arm64_apt_open SUITE     a private apt for that suite of the archive that the host uses
# arm64_apt COMMAND...     apt-get or apt-cache with it
# arm64_unpack FOLDER      unpacks what was downloaded
# arm64_apt_close

arm64_apt_open() {
  local suite=$1 sources archive signed
  arm64_apt_folder=$(mktemp -d) || return 1
  mkdir -p "$arm64_apt_folder"/{state/lists/partial,archives/partial,sources}
  : >"$arm64_apt_folder/status"
  # The archive is what serves the release that runs here.
  # shellcheck disable=SC1091,SC2016  # the names in parentheses are apt's
  sources=$(. /etc/os-release && apt-get indextargets --no-release-info \
    --format '$(REPO_URI) $(SIGNED_BY)' "Release: $VERSION_CODENAME" 'Created-By: Packages')
  read -r archive signed <<<"$sources"
  [[ -n $archive ]] || { echo "apt has no sources for this release" >&2 && return 1; }
  [[ $signed == /* ]] || signed=/usr/share/keyrings/debian-archive-keyring.gpg
  echo "deb [signed-by=$signed] $archive $suite main" >"$arm64_apt_folder/sources/debian.list"
  arm64_apt apt-get update
}

arm64_apt() {
  local tool=$1 folder=$arm64_apt_folder
  shift
  (cd "$folder/archives" && "$tool" -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
    -o Dir::State="$folder/state" -o Dir::State::status="$folder/status" \
    -o Dir::Cache="$folder" -o Dir::Etc::sourcelist=/dev/null \
    -o Dir::Etc::sourceparts="$folder/sources" -o Dir::Etc::preferencesparts=/dev/null \
    -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1 -o Acquire::Languages=none "$@")
}

arm64_unpack() {
  local deb
  mkdir -p "$1"
  for deb in "$arm64_apt_folder"/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$1" --keep-directory-symlink \
      --exclude=./usr/share/{doc,man,locale} || return 1
  done
}

arm64_apt_close() { rm -rf "$arm64_apt_folder"; }
