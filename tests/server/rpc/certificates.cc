#include "tests/server/rpc/certificates.h"

#include <fstream>
#include <memory>
#include <stdexcept>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace thermocline::server::rpc {
namespace {

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

struct Made {
  Certificate certificate{nullptr, &X509_free};
  Key key{nullptr, &EVP_PKEY_free};
};

void Extend(X509* certificate, int what, const char* value) {
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, what, value);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// Signed by `by`, or by itself.
Made Make(const std::string& name, const Made* by) {
  static long serial = 0;
  Made made;
  made.key.reset(EVP_EC_gen("P-256"));
  made.certificate.reset(X509_new());
  X509* const certificate = made.certificate.get();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 24 * 3600);
  X509_set_pubkey(certificate, made.key.get());
  X509_NAME* const subject = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(certificate, by == nullptr ? subject : X509_get_subject_name(by->certificate.get()));
  Extend(certificate, NID_basic_constraints, by == nullptr ? "critical,CA:TRUE" : "CA:FALSE");
  if (by != nullptr) Extend(certificate, NID_subject_alt_name, ("DNS:" + name).c_str());
  EVP_PKEY* const signer = by == nullptr ? made.key.get() : by->key.get();
  if (X509_sign(certificate, signer, EVP_sha256()) == 0)
    throw std::runtime_error("cannot sign a certificate");
  return made;
}

Identity Pem(const Made& made) {
  const auto text = [](auto write) {
    BIO* const bio = BIO_new(BIO_s_mem());
    write(bio);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string pem(data, static_cast<size_t>(size));
    BIO_free(bio);
    return pem;
  };
  return {text([&](BIO* bio) { PEM_write_bio_X509(bio, made.certificate.get()); }), text([&](BIO* bio) {
            PEM_write_bio_PrivateKey(bio, made.key.get(), nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

void Write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

}  // namespace

Certificates::Certificates() {
  const Made authority = Make("authority", nullptr);
  const Made stranger = Make("stranger", nullptr);
  authority_ = Pem(authority);
  stranger_ = Pem(stranger);
  server_ = Pem(Make("localhost", &authority));
  client_ = Pem(Make("client", &authority));
  strange_client_ = Pem(Make("client", &stranger));
  Write(certificate_file(), server_.certificate);
  Write(key_file(), server_.key);
  Write(authority_file(), authority_.certificate);
  Write(other_key_file(), client_.key);
  Write(garbage_file(), "garbage");
}

}  // namespace thermocline::server::rpc
