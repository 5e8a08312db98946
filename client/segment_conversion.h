#pragma once

#include "client/segments.h"
#include "thermocline/v1/segments.pb.h"

// Between the types of segments.h and those of the wire. Private to the client.
namespace thermocline::conversion {

SegmentChange ToChange(const v1::ChangeResponse& response);
SegmentProgress ToProgress(const v1::Progress& progress);
SegmentPlan ToPlan(const v1::ExplainResponse& response);
SegmentJob ToJob(const v1::Job& job);
v1::ExportFormat ToWire(SegmentExportFormat format);
SegmentTimelineSummary ToSummary(const v1::TimelineResponse::Summary& summary);
SegmentInfo ToInfo(const v1::Segment& segment);

}  // namespace thermocline::conversion
