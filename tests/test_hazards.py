"""What bites others where pictures come in, and which test holds that it does not bite here.

The rows are those of a survey of what was reported of other tools, 2022 to 2026. A row without a test has a reason.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
FAMILIES, DRAWING = "families/test_pictures_in.py", "workers/drawing/test_pictures_in.py"
INPAINTING = "families/test_inpainting_bases.py"
PLACEMENT, DECODING = "workers/drawing/test_placement.py", "workers/test_decoding.py"
CONTROL, MAPS = "families/test_control.py", "workers/control/test_maps.py"
PROMPTS, MASKS = "workers/image_prompts/test_applying.py", "workers/image_prompts/test_masks.py"
ACCEPTANCE = "app/accepting/test_unfit_pictures.py"

HELD: dict[str, list[tuple[str, str]]] = {
    "1 pixels outside a mask change": [
        (FAMILIES, "test_what_is_black_is_the_input_bit_for_bit_and_the_rest_is_drawn"),
        (DRAWING, "test_what_is_drawn_is_put_back_in_its_place_and_nothing_outside_is_changed"),
    ],
    "2 a seam or a shift of colour": [(DRAWING, "test_where_the_model_changes_nothing_no_seam_is_seen")],
    "3 feather leaks outwards": [(DRAWING, "test_a_change_fades_in_inwards_alone")],
    "4 grey of a mask becomes black or white": [
        (FAMILIES, "test_a_white_mask_is_none_and_a_grey_one_is_for_the_last_part_of_the_steps"),
    ],
    "5 which of a mask is drawn anew": [
        (ACCEPTANCE, "test_a_picture_that_cannot_be_drawn_from_is_refused_at_its_field"),  # where alpha may mean either
    ],
    "6 a mask that is empty, full or of another size": [
        (ACCEPTANCE, "test_a_picture_that_cannot_be_drawn_from_is_refused_at_its_field"),
        (DRAWING, "test_an_empty_mask_is_refused"),
        (FAMILIES, "test_a_white_mask_is_none_and_a_grey_one_is_for_the_last_part_of_the_steps"),
    ],
    "7 details of few pixels": [
        (DRAWING, "test_the_box_around_a_mask_is_as_computed_by_hand"),
        (DRAWING, "test_a_long_box_is_drawn_as_large_as_the_models_edges_allow_or_at_the_likest_of_its_sizes"),
    ],
    "8 inpainting bases are other bases": [
        ("workers/models/test_bad_files.py", "test_a_file_that_is_no_base_is_refused_in_a_sentence"),
        ("workers/models/test_refusals.py", "test_what_cannot_be_served_is_refused_in_a_sentence"),
        (FAMILIES, "test_with_all_of_it_drawn_anew_nothing_of_the_picture_is_left"),
        (INPAINTING, "test_it_is_diffusers_own_inpainting_with_adapters_too"),
        (INPAINTING, "test_nothing_is_drawn_without_a_mask"),
    ],
    "9 orientation": [(DECODING, "test_a_picture_is_turned_upright")],
    "10 a size that is no multiple": [
        (ACCEPTANCE, "test_with_a_fit_any_size_is_taken_and_the_mask_has_the_pictures_shape"),
        (DRAWING, "test_the_answer_has_the_size_that_was_asked_for"),
        (PLACEMENT, "test_a_picture_and_its_mask_lie_at_the_same_place"),
    ],
    "11 colour profile dropped": [
        (DECODING, "test_colours_of_a_wide_profile_are_turned_into_srgb"),
        (DECODING, "test_a_broken_profile_is_taken_as_srgb_and_said_so"),
    ],
    "12 modes and frames": [
        (DECODING, "test_one_drawing_in_any_mode_is_one_picture"),
        (DECODING, "test_ink_becomes_colour"),
        (DECODING, "test_more_than_one_frame_is_refused"),
    ],
    "13 bombs, odd formats, faults of parsers": [
        (DECODING, "test_what_is_no_picture_is_refused_in_a_sentence"),
        ("workers/test_pictures_in.py", "test_a_picture_that_kills_its_decoding_is_refused_as_a_picture"),
    ],
    "14 upload by name": [("workers/test_pictures_in.py", "test_a_picture_is_found_by_its_pixels")],
    "15 a map of another size or shape": [
        (MAPS, "test_edges_are_opencvs_at_the_drawings_size"),
        (CONTROL, "test_a_map_goes_through_the_placement_of_the_other_pictures"),
        (CONTROL, "test_a_map_is_made_kept_and_read_as_any_other"),
    ],
    "16 order of channels, and sense": [
        (MAPS, "test_edges_are_opencvs_at_the_drawings_size"),
        ("workers/control/test_preprocessors.py", "test_joints_and_limbs_have_openposes_colours"),
    ],
    "17 modes of union nets by number": [(CONTROL, "test_what_a_net_cannot_obey_is_refused")],
    "18 several controls": [
        (CONTROL, "test_several_nets_are_summed_in_any_order"),
        (CONTROL, "test_without_strength_it_is_the_plain_picture"),
    ],
    "19 left behind": [
        (CONTROL, "test_nothing_is_left_behind"),
        (PROMPTS, "test_an_error_half_way_leaves_nothing_behind"),
    ],
    "20 a second pass forgets": [
        (FAMILIES, "test_a_second_pass_is_image_to_image_of_the_first_result"),
        (FAMILIES, "test_latents_that_are_enlarged_are_those_of_the_first_result"),
        (CONTROL, "test_a_second_pass_reads_a_map_of_its_own_size"),
        (MASKS, "test_a_second_pass_has_the_mask_at_its_own_size"),
    ],
    "22 the wrong image encoder": [
        (
            "workers/image_prompts/test_judging.py",
            "test_a_file_for_another_width_of_text_is_refused_with_both_numbers",
        ),
        ("workers/image_prompts/test_judging.py", "test_without_an_encoder_the_sentence_says_how_to_name_one"),
    ],
    "23 a reference is cropped": [(PROMPTS, "test_with_crop_only_the_middle_is_read_and_the_box_says_so")],
    "24 image prompts and LoRAs fight": [
        (PROMPTS, "test_comings_and_goings_with_weights_between_leave_the_base_as_it_was"),
    ],
    "25 faces": [  # nothing looks for one: a full-face file reads a picture as any other, and FaceID's are refused
        ("workers/image_prompts/test_judging.py", "test_a_file_of_faces_is_refused_with_a_sentence"),
    ],
    "26 regional masks and tokens": [
        (MASKS, "test_a_size_that_halves_unevenly_is_drawn"),
        (MASKS, "test_a_white_mask_is_a_bypass_without_one_and_a_black_one_is_plain"),
    ],
    "27 editing models drift": [
        ("families/test_references.py", "test_pictures_are_read_at_their_own_sizes_as_diffusers_does"),
    ],
    "28 guidance that is not done": [
        ("families/test_families.py", "test_every_field_changes_the_picture_or_is_refused"),
    ],
    "30 the encode draws from the noise": [
        (FAMILIES, "test_with_all_of_it_drawn_anew_nothing_of_the_picture_is_left"),
        (FAMILIES, "test_it_is_diffusers_own_image_to_image_with_adapters_too"),
    ],
}
NOT_HERE: dict[str, str] = {
    "21 tiles show": "nothing is drawn or decoded in tiles",
    "29 a filter's black pictures": "no filter is loaded, and what is not finite is never stored",
}


def functions_in(file: Path) -> set[str]:
    """The names of a file's own functions."""
    return {one.name for one in ast.parse(file.read_text("utf-8")).body if isinstance(one, ast.FunctionDef)}


def test_every_row_has_a_test_or_a_reason() -> None:
    rows = [int(row.split()[0]) for row in (*HELD, *NOT_HERE)]
    assert sorted(rows) == [*range(1, 31)]
    assert all(HELD.values())


@pytest.mark.parametrize("row", HELD)
def test_the_tests_of_a_row_are_there(row: str) -> None:
    for file, name in HELD[row]:
        assert name in functions_in(ROOT / file), f"{file} has no {name}"
