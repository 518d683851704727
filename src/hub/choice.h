// Which files of a repository this program reads.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "hub/listing.h"
#include "hub/name.h"

namespace eav {

struct Choice {
  std::vector<ListedFile> files;
  std::string path;  // what was asked for, or the only file that it can mean; empty: the whole repository
  std::vector<std::string> pickled;  // weights that it would read, were they no pickled objects
};

// Whether a folder by this name, beside a model_index.json, is a part that is read.
bool is_model_folder(std::string_view name);

// Of a folder of diffusers (model_index.json), of Wan's or Open-Sora's own, or of an encoder: configurations,
// tokenizers and one variant of each weight, the one that the loader takes. Of a repository of single files, the only
// one; SeveralFiles where there are several. With `name.path`, that file, or those of that folder. Throws eav::Error
// where there is nothing to read.
Choice choose_files(const Listing& listing, const HubName& name);

}  // namespace eav
