// Requests to the hub, by libcurl.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "eav/progress.h"

namespace eav {

// What a server answered.
struct Answer {
  int64_t status = 0;                          // "206"
  std::map<std::string, std::string> headers;  // of the last of a chain of redirects; names in lower case
  std::map<std::string, std::string> hub;      // of the last that the hub itself gave
  std::string broken;  // why the connection ended before the answer did; empty where it is whole

  bool succeeded() const { return status >= 200 && status < 300; }
};

// What takes the body of an answer that succeeded.
struct Sink {
  std::function<void(const Answer&)> begin;      // its headers are there
  std::function<void(std::string_view)> append;  // a piece of it
};

// A connection to the hub. Redirects are followed, by HTTPS alone where the hub itself is asked so; the token goes to
// the hub's own scheme, host and port and to no other.
class Http {
 public:
  // `endpoint`: "https://huggingface.co". `progress` is asked whether to stop, and must outlive it.
  Http(std::string endpoint, std::string token, const Progress& progress);

  // Gets endpoint/path, from that byte on. Throws eav::Error where asking again would not help, what `sink` throws, and
  // Cancelled.
  Answer get(const std::string& path, int64_t from, const Sink& sink);

  const std::string& endpoint() const { return endpoint_; }
  bool has_token() const { return !token_.empty(); }

 private:
  std::unique_ptr<void, void (*)(void*)> curl_;
  std::string endpoint_, token_;
  const Progress& progress_;
};

// A path or a name as a URL has it: everything but letters, digits and "-._~" as %XX, and '/' too unless it is kept.
std::string url_encoded(std::string_view text, bool keep_slashes);

}  // namespace eav
