// Models of the hub (huggingface.co): found in its cache on this machine, which Python's huggingface_hub shares, and
// fetched into it.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "eav/error.h"
#include "eav/progress.h"

namespace [[gnu::visibility("default")]] eav {

// Where a path of ModelPaths leads. What is there is meant itself, but for the folder of a repository in the cache
// (models--ORG--NAME), which stands for its snapshot. Where nothing is there, ORG/NAME means that repository in the
// cache, and ORG/NAME:PATH a file or folder in it. Throws eav::Error, which names the command that fetches it, where
// the cache has it not or not whole.
std::filesystem::path resolve_model_path(const std::filesystem::path& path);

struct Pull {
  std::string name;               // "ORG/NAME", or "ORG/NAME:PATH" for a file or folder in it
  std::string revision = "main";  // a branch, a tag or a commit
};

struct Pulled {
  std::filesystem::path path;  // in the cache: of the repository, or of what was asked for in it
  std::string commit;
  int64_t files = 0, bytes = 0;  // all that is there for it now
  int64_t fetched = 0;           // of the bytes, those that came over the network
};

// A file of a repository.
struct RemoteFile {
  std::string path;
  int64_t size;  // bytes
};

// The repository holds several models, each a file: one is to be named.
class SeveralFiles : public Error {
 public:
  SeveralFiles(const std::string& what, std::vector<RemoteFile> files) : Error(what), files_(std::move(files)) {}
  const std::vector<RemoteFile>& files() const { return files_; }

 private:
  std::vector<RemoteFile> files_;
};

// Fetches what this library reads of a repository: configurations, tokenizers, one variant of each weight. A file that
// is in the cache is kept, one that is there in part is gone on with, and each is checked against the checksum that the
// hub lists. `progress` is told of each file that is fetched as a phase, of the bytes of all files that are there as
// steps, and asked whether to stop: what came until then is kept. The environment is that of huggingface_hub:
// HF_HUB_CACHE, HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_OFFLINE. Throws eav::Error.
Pulled pull(const Pull& wanted, Progress& progress);

}  // namespace eav
