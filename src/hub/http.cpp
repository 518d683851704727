#include "hub/http.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <exception>

#include "eav/error.h"

namespace eav {
namespace {

constexpr int kMostRedirects = 8;
constexpr size_t kMostHeaders = 200;
constexpr long kSecondsToConnect = 15, kSecondsOfSilence = 30;

template <class T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

void initialize_once() {
  static const auto code = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (code != CURLE_OK) throw Error(fmt::format("libcurl does not start: {}", curl_easy_strerror(code)));
}

// "https://huggingface.co:443"; empty where a URL has no such parts.
std::string origin_of(const std::string& url) {
  const Owned<CURLU> parsed(curl_url(), curl_url_cleanup);
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return "";
  std::string origin;
  for (const auto& [part, before] : {std::pair{CURLUPART_SCHEME, ""}, {CURLUPART_HOST, "://"}, {CURLUPART_PORT, ":"}}) {
    char* text = nullptr;
    if (curl_url_get(parsed.get(), part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return "";
    origin += before + std::string(text);
    curl_free(text);
  }
  return origin;
}

// One request, for the functions that libcurl calls. No exception may pass through it: they are kept for afterwards.
struct Transfer {
  CURL* curl;
  const Sink& sink;
  const Progress& progress;
  Answer answer{};
  bool of_hub = false;  // it is the hub itself that is asked
  bool begun = false;   // the sink has the headers
  std::exception_ptr error{};

  void begin() {
    if (begun) return;
    begun = true;
    if (of_hub) answer.hub = answer.headers;
    sink.begin(answer);
  }
};

template <class Work>
size_t kept_from(Transfer& transfer, size_t size, const Work& work) noexcept {
  try {
    work();
    return size;
  } catch (...) {
    transfer.error = std::current_exception();
    return CURL_WRITEFUNC_ERROR;
  }
}

size_t on_header(char* data, size_t one, size_t size, void* pointer) {
  auto& transfer = *static_cast<Transfer*>(pointer);
  return kept_from(transfer, one * size, [&] {
    std::string_view line(data, one * size);
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.remove_suffix(1);
    auto& headers = transfer.answer.headers;
    if (line.starts_with("HTTP/")) headers.clear();  // those of an answer that another one follows
    const auto colon = line.find(':');
    if (colon == std::string_view::npos || headers.size() >= kMostHeaders) return;
    std::string name(line.substr(0, colon));
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    auto value = line.substr(colon + 1);
    value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
    headers.insert_or_assign(std::move(name), std::string(value));
  });
}

size_t on_body(char* data, size_t one, size_t size, void* pointer) {
  auto& transfer = *static_cast<Transfer*>(pointer);
  return kept_from(transfer, one * size, [&] {
    long status = 0;
    curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &status);
    transfer.answer.status = status;
    if (!transfer.answer.succeeded()) return;
    transfer.begin();
    transfer.sink.append({data, one * size});
  });
}

int on_progress(void* pointer, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Transfer*>(pointer)->progress.cancelled() ? 1 : 0;
}

// Whether asking again may help.
bool may_pass(CURLcode code) {
  static constexpr std::array kPassing{CURLE_COULDNT_RESOLVE_PROXY,
                                       CURLE_COULDNT_RESOLVE_HOST,
                                       CURLE_COULDNT_CONNECT,
                                       CURLE_PARTIAL_FILE,
                                       CURLE_OPERATION_TIMEDOUT,
                                       CURLE_GOT_NOTHING,
                                       CURLE_SEND_ERROR,
                                       CURLE_RECV_ERROR,
                                       CURLE_HTTP2,
                                       CURLE_HTTP2_STREAM,
                                       CURLE_SSL_CONNECT_ERROR};
  return std::ranges::find(kPassing, code) != kPassing.end();
}

}  // namespace

Http::Http(std::string endpoint, std::string token, const Progress& progress)
    : curl_(nullptr, curl_easy_cleanup), endpoint_(std::move(endpoint)), token_(std::move(token)), progress_(progress) {
  initialize_once();
  curl_.reset(curl_easy_init());
  if (!curl_) throw Error("libcurl does not start");
  if (origin_of(endpoint_).empty()) throw Error(fmt::format("HF_ENDPOINT is '{}', which is no URL", endpoint_));
}

Answer Http::get(const std::string& path, int64_t from, const Sink& sink) {
  const auto home = origin_of(endpoint_);
  auto url = endpoint_ + path;
  std::map<std::string, std::string> hub;
  for (int hop = 0; hop <= kMostRedirects; ++hop) {
    auto* curl = static_cast<CURL*>(curl_.get());
    Transfer transfer{.curl = curl, .sink = sink, .progress = progress_};
    transfer.of_hub = origin_of(url) == home;
    transfer.answer.hub = hub;
    std::array<char, CURL_ERROR_SIZE> message{};
    Owned<curl_slist> headers(curl_slist_append(nullptr, "Accept-Encoding: identity"), curl_slist_free_all);
    if (!token_.empty() && transfer.of_hub)
      curl_slist_append(headers.get(), ("Authorization: Bearer " + token_).c_str());
    const auto set = [&](CURLoption option, auto value) {
      if (const auto code = curl_easy_setopt(curl, option, value); code != CURLE_OK)
        throw Error(fmt::format("libcurl refuses a setting: {}", curl_easy_strerror(code)));
    };
    curl_easy_reset(curl);  // keeps the connection
    set(CURLOPT_URL, url.c_str());
    set(CURLOPT_PROTOCOLS_STR, home.starts_with("https:") ? "https" : "http,https");
    set(CURLOPT_USERAGENT, "eav/" EAV_VERSION " (enhance-a-video.cpp)");
    set(CURLOPT_HTTPHEADER, headers.get());
    set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_CONNECTTIMEOUT, kSecondsToConnect);
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(CURLOPT_LOW_SPEED_TIME, kSecondsOfSilence);
    set(CURLOPT_ERRORBUFFER, message.data());
    set(CURLOPT_HEADERFUNCTION, on_header);
    set(CURLOPT_HEADERDATA, &transfer);
    set(CURLOPT_WRITEFUNCTION, on_body);
    set(CURLOPT_WRITEDATA, &transfer);
    set(CURLOPT_NOPROGRESS, 0L);
    set(CURLOPT_XFERINFOFUNCTION, on_progress);
    set(CURLOPT_XFERINFODATA, &transfer);
    const auto range = fmt::format("{}-", from);
    if (from > 0) set(CURLOPT_RANGE, range.c_str());

    progress_.check();
    const auto code = curl_easy_perform(curl);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);
    if (transfer.error) std::rethrow_exception(transfer.error);
    if (code == CURLE_ABORTED_BY_CALLBACK) throw Cancelled();
    auto& answer = transfer.answer;
    if (transfer.of_hub) answer.hub = hub = answer.headers;
    const std::string text = message[0] != '\0' ? message.data() : curl_easy_strerror(code);
    if (code != CURLE_OK && !may_pass(code)) throw Error(fmt::format("cannot get {}: {}", url, text));
    if (code != CURLE_OK) {
      answer.broken = text;
      return answer;
    }
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    answer.status = status;
    char* next = nullptr;
    curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &next);
    if (next == nullptr) {
      if (answer.succeeded()) transfer.begin();  // one without a body
      return answer;
    }
    url = next;
  }
  throw Error(fmt::format("{}{} leads from one address to the next, and nowhere", endpoint_, path));
}

std::string url_encoded(std::string_view text, bool keep_slashes) {
  std::string encoded;
  for (const unsigned char c : text) {
    const bool plain = std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_' || c == '~';
    encoded += plain || (c == '/' && keep_slashes) ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c);
  }
  return encoded;
}

}  // namespace eav
