#include "hub/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "eav/error.h"

namespace eav {
namespace {

EVP_MD_CTX* of(const std::unique_ptr<void, void (*)(void*)>& context) {
  return static_cast<EVP_MD_CTX*>(context.get());
}

void check(int succeeded) {
  if (succeeded != 1) throw Error("OpenSSL cannot compute a checksum");
}

}  // namespace

Digest::Digest(const std::string& etag, int64_t size)
    : context_(EVP_MD_CTX_new(), [](void* context) { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context)); }) {
  const bool of_git = etag.size() == 40;
  check(EVP_DigestInit_ex(of(context_), of_git ? EVP_sha1() : EVP_sha256(), nullptr));
  if (of_git) add(fmt::format("blob {}", size) + '\0');
}

void Digest::add(std::string_view bytes) { check(EVP_DigestUpdate(of(context_), bytes.data(), bytes.size())); }

std::string Digest::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned length = 0;
  check(EVP_DigestFinal_ex(of(context_), bytes.data(), &length));
  std::string text;
  for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

}  // namespace eav
