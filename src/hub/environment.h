// The environment that programs of the hub share: where its cache is, where it is asked, and as whom.
#pragma once
#include <filesystem>
#include <string>

namespace eav {

// HF_HOME, else huggingface/ in XDG_CACHE_HOME or ~/.cache.
std::filesystem::path hub_home();
// HF_HUB_CACHE, else hub/ in that.
std::filesystem::path hub_cache();
// HF_ENDPOINT, else "https://huggingface.co". Throws eav::Error where it is no URL of HTTP.
std::string hub_endpoint();
// HF_TOKEN, else the text of the file HF_TOKEN_PATH or token in hub_home(), where logging in keeps it; empty without.
// Throws eav::Error where it can be none.
std::string hub_token();
// HF_HUB_OFFLINE: nothing is to be fetched.
bool hub_is_offline();

}  // namespace eav
