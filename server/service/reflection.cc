#include "server/service/reflection.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"

namespace thermocline::server {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using grpc::reflection::v1alpha::FileDescriptorResponse;
using grpc::reflection::v1alpha::ServerReflectionRequest;
using grpc::reflection::v1alpha::ServerReflectionResponse;

const DescriptorPool& Pool() { return *DescriptorPool::generated_pool(); }

void AddFile(const FileDescriptor& file, absl::flat_hash_set<const FileDescriptor*>& added,
             FileDescriptorResponse& response) {
  if (!added.insert(&file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  proto.SerializeToString(response.add_file_descriptor_proto());
  for (int i = 0; i < file.dependency_count(); ++i) AddFile(*file.dependency(i), added, response);
}

void NotFound(const std::string& what, ServerReflectionResponse& response) {
  response.mutable_error_response()->set_error_code(static_cast<int>(absl::StatusCode::kNotFound));
  response.mutable_error_response()->set_error_message("there is no " + what);
}

void FillFile(const FileDescriptor* file, const std::string& what, ServerReflectionResponse& response) {
  if (file == nullptr) return NotFound(what, response);
  absl::flat_hash_set<const FileDescriptor*> added;
  AddFile(*file, added, *response.mutable_file_descriptor_response());
}

void FillExtensionNumbers(const std::string& type, ServerReflectionResponse& response) {
  const auto* const descriptor = Pool().FindMessageTypeByName(type);
  if (descriptor == nullptr) return NotFound("message " + type, response);
  response.mutable_all_extension_numbers_response()->set_base_type_name(type);
  std::vector<const FieldDescriptor*> extensions;
  Pool().FindAllExtensions(descriptor, &extensions);
  for (const FieldDescriptor* extension : extensions) {
    response.mutable_all_extension_numbers_response()->add_extension_number(extension->number());
  }
}

void FillExtension(const std::string& type, int number, ServerReflectionResponse& response) {
  const auto* const descriptor = Pool().FindMessageTypeByName(type);
  const auto* const extension =
      descriptor == nullptr ? nullptr : Pool().FindExtensionByNumber(descriptor, number);
  FillFile(extension == nullptr ? nullptr : extension->file(),
           "extension " + std::to_string(number) + " of " + type, response);
}

}  // namespace

void ReflectionService::Answer(const ServerReflectionRequest& request,
                               ServerReflectionResponse* response) const {
  response->set_valid_host(request.host());
  *response->mutable_original_request() = request;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      return FillFile(Pool().FindFileByName(request.file_by_filename()), "file " + request.file_by_filename(),
                      *response);
    case ServerReflectionRequest::kFileContainingSymbol:
      return FillFile(Pool().FindFileContainingSymbol(request.file_containing_symbol()),
                      "symbol " + request.file_containing_symbol(), *response);
    case ServerReflectionRequest::kFileContainingExtension:
      return FillExtension(request.file_containing_extension().containing_type(),
                           request.file_containing_extension().extension_number(), *response);
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      return FillExtensionNumbers(request.all_extension_numbers_of_type(), *response);
    case ServerReflectionRequest::kListServices:
      for (const std::string& service : services_) {
        response->mutable_list_services_response()->add_service()->set_name(service);
      }
      return;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      response->mutable_error_response()->set_error_code(
          static_cast<int>(absl::StatusCode::kInvalidArgument));
      response->mutable_error_response()->set_error_message(
          "the request asks for nothing that this server knows");
      return;
  }
}

}  // namespace thermocline::server
